"""Claims: at most one of several concurrent callers starts a run.

A claim is an object in the state bucket, `claims/<name>`. It is made and changed under a condition only (`fenced.py`).
A caller that was passed over notices it before it starts anything, because it renews its claim first. A claim holds the
id of its run.

A holder may die between making a claim and starting a run, or may lose the answer to its start. It blocks nobody: after
ten minutes another caller looks for a run whose label is the name of the claim, and takes the claim over where there is
none.

Ages compare the clocks of two machines. A wrong clock can end a claim early; the fence still lets only one of two
callers start a run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from components.stores.objects.fenced import FencedObject
from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from inspection.codec import Document, DocumentError

_log = logging.getLogger(__name__)

TAKE_OVER_AFTER: Final = timedelta(minutes=10)
MAX_ATTEMPTS: Final = 3
_PREFIX: Final = "claims/"
_NOBODY: Final = "unreadable"


class ClaimLost(RuntimeError):
    """Another caller took the claim over, because this one was too slow. No run may be started under it any more."""


class RunState(StrEnum):
    """What is known of a run. LOST: there is no such run, or it has not reported for too long."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


class Runs(Protocol):
    """The runs that are started under claims."""

    def find(self, claim: str) -> str | None:
        """The newest run whose label is this claim."""

    def state(self, run_id: str) -> RunState:
        """The state of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Document):
    """The document of a claim. run_id: '' before a run was started. ended: how the run ended; '' while not known.

    attempt: 1 for the first holder, and one more for each holder that tries again after a run that failed.
    """

    holder: str
    claimed_at: datetime
    run_id: str = ""
    attempt: int = 1
    ended: str = ""
    reason: str = ""


class ClaimState(StrEnum):
    """What a claim means for another caller who wants it."""

    STARTING = "starting"
    RUNNING = "running"
    DONE = "done"
    WAITING = "waiting"
    EXHAUSTED = "exhausted"
    ABANDONED = "abandoned"
    RETRY = "retry"


def claim_state(claim: Claim, state: RunState | None, now: datetime) -> ClaimState:
    """The rule. state: of the claim's run, or None where it has none.

    A run that failed or is lost is tried again after ten minutes, three times in all: most reasons pass, and a person
    must look at those that do not.
    """
    # A claim from the future comes from a wrong clock, and would block for as long as that clock is ahead.
    old = abs(now - claim.claimed_at) >= TAKE_OVER_AFTER
    if not claim.run_id:
        return ClaimState.ABANDONED if old else ClaimState.STARTING
    known = RunState(claim.ended) if claim.ended else state
    if known is RunState.RUNNING:
        return ClaimState.RUNNING
    if known is RunState.SUCCEEDED:
        return ClaimState.DONE
    if known is RunState.LOST and not old:  # started just now: it cannot have reported yet
        return ClaimState.STARTING
    if claim.attempt >= MAX_ATTEMPTS:
        return ClaimState.EXHAUSTED
    return ClaimState.RETRY if old else ClaimState.WAITING


@dataclass(frozen=True, slots=True)
class Refused:
    """Another caller has the claim, or its work is done. why: for a person.

    name: of the claim that it is about; with `take_only` that may be another one than was asked for.
    """

    claim: Claim
    state: ClaimState
    why: str
    name: str = ""


class Held:
    """A claim that this caller holds; made by `Claims.take`."""

    def __init__(self, held: FencedObject, name: str, claim: Claim, etag: str) -> None:
        self._object = held
        self._etag = etag
        self.name = name
        self.claim = claim

    def renew(self, now: datetime) -> None:
        """Write the claim again as still held. Call it right before a run is started.

        Raises:
            ClaimLost: another caller took it over.
        """
        self._write(replace(self.claim, claimed_at=now))

    def started(self, run_id: str, now: datetime) -> None:
        """Record the id of the run that was started. Raises as `renew`."""
        self._write(replace(self.claim, run_id=run_id, claimed_at=now))

    def ended(self, state: RunState, reason: str, now: datetime) -> None:
        """Record how the run ended. Raises as `renew`."""
        self._write(replace(self.claim, ended=str(state), reason=reason[:500], claimed_at=now))

    def withdraw(self) -> None:
        """Give the claim up before a run was started."""
        self._object.remove()

    def _write(self, claim: Claim) -> None:
        etag = self._object.replace(claim.to_json(), self._etag)
        if etag is None:
            raise ClaimLost(f"the claim {self.name} was taken over, because this one was too slow; run it again")
        self.claim, self._etag = claim, etag


class Claims:
    """The claims of one installation. bucket: the state bucket."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def take(self, name: str, holder: str, runs: Runs, now: datetime) -> Held | Refused:
        """Make the claim, or take it over if its holder may be passed over.

        Args:
            name: `<what>/<of whom>/<version>`; the label of the run that is started under it.
            holder: a name that no other caller has.

        Raises:
            ObjectStoreError: the store did not answer.
        """
        mine = Claim(holder=holder, claimed_at=now)
        place = self._object(name)
        try:
            data, etag = place.make(mine.to_json())
        except ObjectNotFound:
            return Refused(mine, ClaimState.STARTING, f"the claim {name} was withdrawn just now; try again", name)
        found = _parse(name, data)
        if found == mine:  # whatever the store answered: a repeated request is refused although the first one arrived
            return Held(place, name, mine, etag)
        if not found.run_id and claim_state(found, None, now) is ClaimState.ABANDONED:
            run_id = runs.find(name)
            if run_id is not None and runs.state(run_id) in (RunState.RUNNING, RunState.SUCCEEDED):
                _log.info("run %s was started under the claim %s by a holder that did not come back", run_id, name)
                known = replace(found, run_id=run_id)
                etag = place.replace(known.to_json(), etag) or etag
                found = known
        state = claim_state(found, runs.state(found.run_id) if found.run_id else None, now)
        if state in (ClaimState.ABANDONED, ClaimState.RETRY):
            mine = replace(mine, attempt=found.attempt + (state is ClaimState.RETRY))
            taken = place.replace(mine.to_json(), etag)
            if taken is not None:
                _log.info("took the claim %s over from %s (%s)", name, found.holder, state)
                return Held(place, name, mine, taken)
            return Refused(found, ClaimState.STARTING, f"another caller took the claim {name} over just now", name)
        return Refused(found, state, _why(name, found, state), name)

    def look(self, name: str, below: str, runs: Runs, now: datetime) -> Refused | None:
        """What `take_only` would answer now, without a change; None where the claim is free to be taken.

        A run that `take` would find and write into the claim is in `why` and `state`, and not in the claim.
        below: '' answers as `take`.
        """
        try:
            found = _parse(name, self._object(name).read()[0])
        except ObjectNotFound:
            return self._rival(name, below, runs, now) if below else None
        known = found
        if not found.run_id and claim_state(found, None, now) is ClaimState.ABANDONED:
            run_id = runs.find(name)
            if run_id is not None and runs.state(run_id) in (RunState.RUNNING, RunState.SUCCEEDED):
                known = replace(found, run_id=run_id)
        state = claim_state(known, runs.state(known.run_id) if known.run_id and not known.ended else None, now)
        if state in (ClaimState.ABANDONED, ClaimState.RETRY):
            return self._rival(name, below, runs, now) if below else None
        return Refused(found, state, _why(name, known, state), name)

    def take_only(self, name: str, below: str, holder: str, runs: Runs, now: datetime) -> Held | Refused:
        """As `take`, but only where no other claim below `<what>/<of whom>/` is live.

        Two callers with different names each look for the other after they have made their claims, so at least one of
        them sees the other and withdraws. If both withdraw, neither starts, and the next call does.
        """
        if (refused := self._rival(name, below, runs, now)) is not None:
            return refused
        held = self.take(name, holder, runs, now)
        if isinstance(held, Held) and (refused := self._rival(name, below, runs, now)) is not None:
            held.withdraw()
            return refused
        return held

    def _rival(self, name: str, below: str, runs: Runs, now: datetime) -> Refused | None:
        for other, claim, state in self.live(below, runs, now):
            if other != name:
                return Refused(claim, state, _why(other, claim, state), other)
        return None

    def live(self, below: str, runs: Runs, now: datetime) -> Iterator[tuple[str, Claim, ClaimState]]:
        """The claims under which a run is being started or is at work, with their names."""
        for info in self._store.list(self._bucket, _PREFIX + below):
            name = info.key.removeprefix(_PREFIX)
            try:
                claim = _parse(name, self._object(name).read()[0])
            except ObjectNotFound:  # withdrawn since
                continue
            run_state = runs.state(claim.run_id) if claim.run_id and not claim.ended else None
            state = claim_state(claim, run_state, now)
            if state in (ClaimState.STARTING, ClaimState.RUNNING):
                yield name, claim, state

    def changed_at(self, *below: str) -> datetime | None:
        """When the latest claim below one of these names was taken, or its run started or ended; None without one."""
        found = [info for name in below for info in self._store.list(self._bucket, _PREFIX + name)]
        if not found:
            return None
        latest = max(found, key=lambda info: info.modified).key.removeprefix(_PREFIX)
        try:
            return _parse(latest, self._object(latest).read()[0]).claimed_at
        except ObjectNotFound:  # withdrawn since
            return None

    def _object(self, name: str) -> FencedObject:
        return FencedObject(self._store, self._bucket, _PREFIX + name)


def _parse(name: str, data: bytes) -> Claim:
    try:
        return Claim.from_json(data)
    except DocumentError as e:
        _log.warning("the claim %s is not readable and counts as abandoned: %s", name, e)
        return Claim(holder=_NOBODY, claimed_at=datetime.min.replace(tzinfo=UTC))


def _why(name: str, claim: Claim, state: ClaimState) -> str:
    if state is ClaimState.STARTING:
        return f"{claim.holder} is starting a run under the claim {name}"
    if state is ClaimState.RUNNING:
        return f"run {claim.run_id} is at work under the claim {name}"
    if state is ClaimState.DONE:
        return f"run {claim.run_id} did it under the claim {name}"
    said = f"run {claim.run_id} under the claim {name} failed{f': {claim.reason}' if claim.reason else ''}"
    if state is ClaimState.WAITING:
        return f"{said}; it is tried again {TAKE_OVER_AFTER.seconds // 60} minutes after"
    return f"{said}; it was the last of {MAX_ATTEMPTS} attempts, so look at it and start it yourself"
