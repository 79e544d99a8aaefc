"""Claims: of all that want to start the same run, one does. An object each in the state bucket, `claims/<name>`.

A claim is made with `If-None-Match: *` and changed with `If-Match` only, so that of two at once one wins, and whoever
was passed over meanwhile notices before it starts anything: the ETag is the fence. It holds the run's id. Who dies
between making a claim and starting a run, or loses the answer to its start, blocks nobody: after ten minutes the run is
looked up by its label, which is the claim's name, and the claim is taken over where there is none.

Ages compare clocks of two machines. A wrong clock can end a claim early; the fence still lets one of the two start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from inspection.codec import Document, DocumentError

_log = logging.getLogger(__name__)

TAKE_OVER_AFTER: Final = timedelta(minutes=10)
MAX_ATTEMPTS: Final = 3
_PREFIX: Final = "claims/"
_NOBODY: Final = "unreadable"


class ClaimLost(RuntimeError):
    """Another one took the claim over, because this one was too slow; nothing may be started under it any more."""


class RunState(StrEnum):
    """What is known of a run. LOST: nobody has heard of it for too long, or there is none."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


class Runs(Protocol):
    """Whoever runs what is claimed."""

    def find(self, claim: str) -> str | None:
        """The newest run whose label is this claim."""

    def state(self, run_id: str) -> RunState:
        """How it stands with a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Document):
    """What the object holds. run_id: '' before a run was started. ended: what became of it, '' while nobody said.

    attempt: 1 for who made it, one more with each who tried again after a run that failed.
    """

    holder: str
    claimed_at: datetime
    run_id: str = ""
    attempt: int = 1
    ended: str = ""
    reason: str = ""


class Standing(StrEnum):
    """What a claim says to whoever would like to have it."""

    STARTING = "starting"
    RUNNING = "running"
    DONE = "done"
    WAITING = "waiting"
    EXHAUSTED = "exhausted"
    ABANDONED = "abandoned"
    RETRY = "retry"


def standing(claim: Claim, state: RunState | None, now: datetime) -> Standing:
    """The rule. state: of the claim's run, where it has one.

    A run that failed, or that is lost, is tried again ten minutes later, three times in all: most reasons pass, and
    those that do not are a person's to see.
    """
    # A claim from the future is of a wrong clock, and would block for as long as that clock is ahead.
    old = abs(now - claim.claimed_at) >= TAKE_OVER_AFTER
    if not claim.run_id:
        return Standing.ABANDONED if old else Standing.STARTING
    known = RunState(claim.ended) if claim.ended else state
    if known is RunState.RUNNING:
        return Standing.RUNNING
    if known is RunState.SUCCEEDED:
        return Standing.DONE
    if known is RunState.LOST and not old:  # started just now: nobody can have heard of it
        return Standing.STARTING
    if claim.attempt >= MAX_ATTEMPTS:
        return Standing.EXHAUSTED
    return Standing.RETRY if old else Standing.WAITING


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody else has it. why: for a person."""

    claim: Claim
    standing: Standing
    why: str


class Held:
    """A claim that is this caller's; made by `Claims.take`."""

    def __init__(self, store: S3ObjectStore, bucket: str, name: str, claim: Claim, etag: str) -> None:
        self._store = store
        self._bucket = bucket
        self._etag = etag
        self.name = name
        self.claim = claim

    def renew(self, now: datetime) -> None:
        """Say that it is still held; right before a run is started.

        Raises:
            ClaimLost: it was taken over.
        """
        self._write(replace(self.claim, claimed_at=now))

    def started(self, run_id: str, now: datetime) -> None:
        """Keep the id of the run that was started; errors as of `renew`."""
        self._write(replace(self.claim, run_id=run_id, claimed_at=now))

    def ended(self, state: RunState, reason: str, now: datetime) -> None:
        """Say what became of the run; errors as of `renew`."""
        self._write(replace(self.claim, ended=str(state), reason=reason[:500], claimed_at=now))

    def withdraw(self) -> None:
        """Give it up before anything was started."""
        self._store.delete(self._bucket, _PREFIX + self.name)

    def _write(self, claim: Claim) -> None:
        etag = _replace(self._store, self._bucket, self.name, claim, self._etag)
        if etag is None:
            raise ClaimLost(f"the claim {self.name} was taken over, because this one was too slow; run it again")
        self.claim, self._etag = claim, etag


class Claims:
    """The claims of one installation. bucket: of the state."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def take(self, name: str, holder: str, runs: Runs, now: datetime) -> Held | Refused:
        """Make the claim, or take it over where that may be.

        Args:
            name: `<what>/<of whom>/<version>`; the label of the run that is started under it.
            holder: a name that no other caller has.

        Raises:
            ObjectStoreError: the store did not answer.
        """
        mine = Claim(holder=holder, claimed_at=now)
        self._store.put(self._bucket, _PREFIX + name, mine.to_json(), if_absent=True, content_type="application/json")
        try:
            found, etag = self._read(name)
        except ObjectNotFound:
            return Refused(mine, Standing.STARTING, f"the claim {name} was withdrawn just now; try again")
        if found == mine:  # whatever the answer said: it may have been that of a second try
            return Held(self._store, self._bucket, name, mine, etag)
        if not found.run_id and standing(found, None, now) is Standing.ABANDONED:
            run_id = runs.find(name)
            if run_id is not None and runs.state(run_id) in (RunState.RUNNING, RunState.SUCCEEDED):
                _log.info("run %s was started under the claim %s by somebody who did not come back", run_id, name)
                known = replace(found, run_id=run_id)
                etag = _replace(self._store, self._bucket, name, known, etag) or etag
                found = known
        stands = standing(found, runs.state(found.run_id) if found.run_id else None, now)
        if stands in (Standing.ABANDONED, Standing.RETRY):
            mine = replace(mine, attempt=found.attempt + (stands is Standing.RETRY))
            taken = _replace(self._store, self._bucket, name, mine, etag)
            if taken is not None:
                _log.info("took the claim %s over from %s (%s)", name, found.holder, stands)
                return Held(self._store, self._bucket, name, mine, taken)
            return Refused(found, Standing.STARTING, f"another one took the claim {name} over just now")
        return Refused(found, stands, _why(name, found, stands))

    def take_only(self, name: str, below: str, holder: str, runs: Runs, now: datetime) -> Held | Refused:
        """`take`, where no other claim below `<what>/<of whom>/` is live.

        Of two callers with different names each looks after it has made its claim, so at least one sees the other and
        withdraws. Both may: then neither starts, and the next call does.
        """
        if (refused := self._rival(name, below, runs, now)) is not None:
            return refused
        held = self.take(name, holder, runs, now)
        if isinstance(held, Held) and (refused := self._rival(name, below, runs, now)) is not None:
            held.withdraw()
            return refused
        return held

    def _rival(self, name: str, below: str, runs: Runs, now: datetime) -> Refused | None:
        for other, claim, stands in self.live(below, runs, now):
            if other != name:
                return Refused(claim, stands, _why(other, claim, stands))
        return None

    def live(self, below: str, runs: Runs, now: datetime) -> Iterator[tuple[str, Claim, Standing]]:
        """The claims under which a run is being started or runs now, with their names."""
        for info in self._store.list(self._bucket, _PREFIX + below):
            name = info.key.removeprefix(_PREFIX)
            try:
                claim, _ = self._read(name)
            except ObjectNotFound:  # withdrawn since
                continue
            state = runs.state(claim.run_id) if claim.run_id and not claim.ended else None
            stands = standing(claim, state, now)
            if stands in (Standing.STARTING, Standing.RUNNING):
                yield name, claim, stands

    def _read(self, name: str) -> tuple[Claim, str]:
        data, etag = self._store.get_with_etag(self._bucket, _PREFIX + name)
        try:
            return Claim.from_json(data), etag
        except DocumentError as e:
            _log.warning("the claim %s is not readable and counts as abandoned: %s", name, e)
            return Claim(holder=_NOBODY, claimed_at=datetime.min.replace(tzinfo=UTC)), etag


def _replace(store: S3ObjectStore, bucket: str, name: str, claim: Claim, etag: str) -> str | None:
    """Write where the object is still the one with this ETag; the new ETag, or None where it is another."""
    data = claim.to_json()
    store.put(bucket, _PREFIX + name, data, if_match=etag, content_type="application/json")
    try:
        found, now = store.get_with_etag(bucket, _PREFIX + name)
    except ObjectNotFound:
        return None
    return now if found == data else None


def _why(name: str, claim: Claim, stands: Standing) -> str:
    if stands is Standing.STARTING:
        return f"{claim.holder} starts a run under the claim {name}"
    if stands is Standing.RUNNING:
        return f"run {claim.run_id} is at work under the claim {name}"
    if stands is Standing.DONE:
        return f"run {claim.run_id} did it under the claim {name}"
    said = f"run {claim.run_id} under the claim {name} failed{f': {claim.reason}' if claim.reason else ''}"
    if stands is Standing.WAITING:
        return f"{said}; it is tried again {TAKE_OVER_AFTER.seconds // 60} minutes after"
    return f"{said}; it was the last of {MAX_ATTEMPTS} attempts, so look at it and start it yourself"
