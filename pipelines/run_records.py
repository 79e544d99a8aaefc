"""Records of the runs on one machine, one object each in the state bucket: `runs/<pipeline>/<run id>.json`.

kfp keeps no history on one machine. A run writes its record when it begins, again each minute, and when it ends. A run
that has not reported for ten minutes is lost. `claim` is a label: it finds a run whose start nobody confirmed.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from components.stores.objects.claims import TAKE_OVER_AFTER, RunState
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore
from inspection.codec import Document, DocumentError

_log = logging.getLogger(__name__)

BEAT_EVERY_S: Final = 60.0


def utc_now() -> datetime:
    """The time now, with its zone."""
    return datetime.now(UTC)


def new_run_id(now: datetime) -> str:
    """A new, unique run id. Ids sort by the time they were made."""
    return f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(Document):
    """One run. state: as the run last wrote it; seen_at: when the run last reported that it is alive."""

    pipeline: str
    run_id: str
    began_at: datetime
    state: RunState
    seen_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    claim: str = ""

    def state_at(self, now: datetime) -> RunState:
        """`state`; LOST where the record says RUNNING and the run has not reported for ten minutes."""
        if self.state is RunState.RUNNING and now - (self.seen_at or self.began_at) >= TAKE_OVER_AFTER:
            return RunState.LOST
        return self.state


class RunRecords:
    """The records of one pipeline. Implements the port `components.stores.objects.claims.Runs`."""

    def __init__(
        self, store: S3ObjectStore, bucket: str, pipeline: str, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._prefix = f"runs/{pipeline}/"
        self._clock = clock

    def write(self, record: RunRecord) -> None:
        """Store the record; it replaces an earlier one of the same run."""
        key = f"{self._prefix}{record.run_id}.json"
        self._store.put(self._bucket, key, record.to_json(), content_type="application/json")

    def read(self, run_id: str) -> RunRecord | None:
        """The record of a run; None where there is none, or it cannot be read."""
        return self._read(f"{self._prefix}{run_id}.json")

    def state(self, run_id: str) -> RunState:
        """The state of a run; LOST where there is no record of it."""
        record = self.read(run_id)
        return record.state_at(self._clock()) if record else RunState.LOST

    def find(self, claim: str) -> str | None:
        """The id of the newest run under a claim. Run ids begin with their time, so their keys sort by time."""
        keys = [info.key for info in self._store.list(self._bucket, self._prefix)]
        for key in sorted(keys, reverse=True):
            record = self._read(key)
            if record is not None and record.claim == claim:
                return record.run_id
        return None

    def _read(self, key: str) -> RunRecord | None:
        try:
            return RunRecord.from_json(self._store.get(self._bucket, key))
        except ObjectNotFound:
            return None
        except DocumentError as e:
            _log.warning("the run record %s is ignored: %s", key, e)
            return None


@contextmanager
def alive(
    records: RunRecords,
    record: RunRecord,
    *,
    every_s: float = BEAT_EVERY_S,
    clock: Callable[[], datetime] = utc_now,
) -> Iterator[None]:
    """Report every `every_s` seconds that the run is alive, while the block runs."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(every_s):
            try:
                records.write(replace(record, seen_at=clock()))
            except ObjectStoreError as e:  # the next minute tries again
                _log.warning("the run could not report that it is alive: %s", e)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
