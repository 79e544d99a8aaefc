"""Records of the runs on one machine, an object each in the state bucket: `runs/<pipeline>/<run id>.json`.

kfp keeps no history there. A record is written when the run begins, again each minute, and when it ends; a run that was
not heard of for ten minutes is lost. `claim` is the run's label: by it a run is found whose start nobody answered for.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from components.stores.objects.claims import TAKE_OVER_AFTER, RunState
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore
from inspection.codec import Document, DocumentError

_log = logging.getLogger(__name__)

BEAT_EVERY_S: Final = 60.0


def new_run_id(now: datetime) -> str:
    """An id that no other run has; ids are in the order of their times."""
    return f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(Document):
    """One run. state: as of `RunState`; seen_at: when the run last said that it is alive."""

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
        """`state`, but LOST where it runs no more and could not say so."""
        if self.state is RunState.RUNNING and now - (self.seen_at or self.began_at) >= TAKE_OVER_AFTER:
            return RunState.LOST
        return self.state


class RunRecords:
    """The records of one pipeline; the port `components.stores.objects.claims.Runs`. now: what ages are measured by."""

    def __init__(self, store: S3ObjectStore, bucket: str, pipeline: str, now: datetime | None = None) -> None:
        self._store = store
        self._bucket = bucket
        self._prefix = f"runs/{pipeline}/"
        self._now = now

    def write(self, record: RunRecord) -> None:
        """Put it in the place of the earlier one."""
        key = f"{self._prefix}{record.run_id}.json"
        self._store.put(self._bucket, key, record.to_json(), content_type="application/json")

    def read(self, run_id: str) -> RunRecord | None:
        """None where there is none, or none that can be read."""
        return self._read(f"{self._prefix}{run_id}.json")

    def state(self, run_id: str) -> RunState:
        """How it stands with a run; LOST where there is no record of it."""
        record = self.read(run_id)
        return record.state_at(self._now or datetime.now(UTC)) if record else RunState.LOST

    def find(self, claim: str) -> str | None:
        """The newest run under a claim. Run ids begin with their time, so that their order is that of the keys."""
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
            _log.warning("the run record %s is passed over: %s", key, e)
            return None


@contextmanager
def alive(records: RunRecords, record: RunRecord, *, every_s: float = BEAT_EVERY_S) -> Iterator[None]:
    """Say each minute that the run is alive, for the time of the block."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(every_s):
            try:
                records.write(replace(record, seen_at=datetime.now(UTC)))
            except ObjectStoreError as e:  # the next minute tries again
                _log.warning("the run could not say that it is alive: %s", e)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
