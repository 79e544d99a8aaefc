"""Checkpoints in S3, so that a killed training can continue.

A checkpoint is `checkpoints/<digest of the inputs>/<run>/epoch-00007.pt` and, beside it, its head: `.json` with the
sha256 of the `.pt`. The head is written last; a `.pt` without a head is ignored. Reading checks the sha256.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from components.stores.objects.list_page import ObjectInfo
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore
from components.training.stopping import StopRequest
from components.training.trainer import Checkpoint, CheckpointError, TrainedModel
from inspection.codec import canonical_json
from inspection.image import sha256_of

_log = logging.getLogger(__name__)

KEPT: Final = 2
"""How many checkpoints of a run stay, the newest ones. Where one is damaged, the one before it is used."""
_SHARE_OF_TIME: Final = 0.05
"""The largest share of a training's time that checkpoints may take, whatever their size and the store's speed."""


class CheckpointRefused(ValueError):
    """A stored checkpoint cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as it was read from the store. run_id: the run that wrote it; key: of its head."""

    key: str
    run_id: str
    checkpoint: Checkpoint


def next_due(began_s: float, ended_s: float, every_s: float) -> float:
    """The time, in seconds, at which the next checkpoint is due after one that took from `began_s` to `ended_s`."""
    return max(began_s + every_s, ended_s + (ended_s - began_s) / _SHARE_OF_TIME)


class S3Checkpoints:
    """The checkpoints of trainings with the same inputs.

    Args:
        inputs: what went into the training; trainings with other inputs have other checkpoints.
        every_s: the least time from one checkpoint to the next, in seconds.
        clock: a monotonic clock, in seconds.
        stop: by which this process hears that it has to end.
    """

    def __init__(
        self,
        store: S3ObjectStore,
        bucket: str,
        inputs: Mapping[str, str],
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
        stop: StopRequest | None = None,
    ) -> None:
        self._store, self._bucket, self._inputs = store, bucket, dict(inputs)
        self.prefix = f"checkpoints/{hashlib.sha256(canonical_json(self._inputs)).hexdigest()}/"
        self.every_s, self.now_s = every_s, clock
        self.stop = stop or StopRequest()

    def usable(self) -> Iterator[StoredCheckpoint]:
        """The usable checkpoints, newest first, each read when asked for. The log names those that are skipped."""
        try:
            heads = [info for info in self._store.list(self._bucket, self.prefix) if info.key.endswith(".json")]
        except ObjectStoreError as e:
            _log.warning("the training begins at its first epoch, because its checkpoints cannot be listed: %s", e)
            return
        for head in sorted(heads, key=_age):
            try:
                yield self._read(head.key)
            except (CheckpointRefused, ObjectStoreError) as e:
                _log.warning("the checkpoint s3://%s/%s is set aside: %s", self._bucket, head.key, e)

    def keeper(self, run_id: str) -> RunCheckpoints:
        """The keeper that stores the checkpoints of the run `run_id`."""
        return RunCheckpoints(self, run_id)

    def remove(self, keep: frozenset[str] = frozenset()) -> None:
        """Remove all objects except the keys in `keep`. Heads are removed first."""
        keys = [info.key for info in self._store.list(self._bucket, self.prefix)]
        for key in sorted(keys, key=lambda key: not key.endswith(".json")):
            if key not in keep:
                self._store.delete(self._bucket, key)

    def finished(self) -> None:
        """Remove all checkpoints, because the training is done. A failure is logged."""
        try:
            self.remove()
        except ObjectStoreError as e:
            _log.warning("the checkpoints below s3://%s/%s could not be removed: %s", self._bucket, self.prefix, e)

    def write(self, run_id: str, checkpoint: Checkpoint) -> tuple[str, str]:
        """Store a checkpoint, its head last; returns the keys of state and head.

        Raises:
            ObjectStoreError: the store did not take it.
        """
        stem = f"{self.prefix}{run_id}/epoch-{checkpoint.epoch:05d}"
        head = {
            "schema_version": 1,
            "inputs": self._inputs,
            "run_id": run_id,
            "epoch": checkpoint.epoch,
            "told": [dict(numbers) for numbers in checkpoint.told],
            "versions": dict(checkpoint.versions),
            "sha256": sha256_of(checkpoint.state),
        }
        self._store.put(self._bucket, f"{stem}.pt", checkpoint.state)
        self._store.put(self._bucket, f"{stem}.json", json.dumps(head).encode(), content_type="application/json")
        return f"{stem}.pt", f"{stem}.json"

    def _read(self, key: str) -> StoredCheckpoint:
        head = _parsed(self._store.get(self._bucket, key))
        if head["inputs"] != self._inputs:
            raise CheckpointRefused(f"expected one of the inputs {self._inputs}, but it is of {head['inputs']}")
        state = self._store.get(self._bucket, f"{key.removesuffix('.json')}.pt")
        if sha256_of(state) != head["sha256"]:
            raise CheckpointRefused(f"expected sha256 {head['sha256']}, but its bytes have {sha256_of(state)}")
        try:
            told = tuple({name: float(value) for name, value in numbers.items()} for numbers in head["told"])
        except (AttributeError, TypeError, ValueError) as e:
            raise CheckpointRefused(f"expected numbers of each epoch, but {e}") from e
        return StoredCheckpoint(key, head["run_id"], Checkpoint(head["epoch"], told, state, head["versions"]))


def go_on(checkpoints: S3Checkpoints, train_from: Callable[[StoredCheckpoint | None], TrainedModel]) -> TrainedModel:
    """Train from the newest checkpoint that the trainer accepts; from the beginning (None) where there is none.

    Raises:
        TrainingStopped: this process was asked to end; what was trained until then is in a checkpoint.
    """
    with checkpoints.stop.heard():
        for found in checkpoints.usable():
            try:
                return train_from(found)
            except CheckpointError as e:
                _log.warning("the checkpoint of epoch %d is set aside: %s", found.checkpoint.epoch, e)
        return train_from(None)


class RunCheckpoints:
    """The `CheckpointKeeper` of one run. It keeps the newest `KEPT` of this run and removes those of earlier runs.

    The first checkpoint is due after the first epoch: a pod may be lost in its first minute too.
    """

    def __init__(self, checkpoints: S3Checkpoints, run_id: str) -> None:
        self._all, self._run_id = checkpoints, run_id
        self._due_s = checkpoints.now_s()
        self._kept: list[tuple[str, str]] = []

    def due(self) -> bool:
        """Whether it is time for another checkpoint, or this process was asked to end."""
        return self._all.stop.asked or self._all.now_s() >= self._due_s

    def keep(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint. Where the store does not take it, log that and go on.

        Raises:
            TrainingStopped: this process was asked to end, which it does now.
        """
        began_s = self._all.now_s()
        try:
            self._kept = [*self._kept, self._all.write(self._run_id, checkpoint)][-KEPT:]
            self._all.remove(keep=frozenset(key for pair in self._kept for key in pair))
        except ObjectStoreError as e:
            _log.warning(
                "the checkpoint after epoch %d was not stored; the training goes on without it: %s", checkpoint.epoch, e
            )
        self._due_s = next_due(began_s, self._all.now_s(), self._all.every_s)
        self._all.stop.end_if_asked(checkpoint.epoch)


def _age(info: ObjectInfo) -> tuple[int, float]:
    """A sort key: the highest epoch first, and of the same epoch the latest."""
    epoch = info.key.rpartition("epoch-")[2].removesuffix(".json")
    return -int(epoch) if epoch.isdigit() else 0, -info.modified.timestamp()


def _parsed(data: bytes) -> Mapping[str, Any]:
    # Not a `Document`: a training's numbers may be NaN, which a document's canonical JSON refuses.
    kinds = {"inputs": dict, "run_id": str, "epoch": int, "told": list, "versions": dict, "sha256": str}
    try:
        head = json.loads(data)
    except ValueError as e:
        raise CheckpointRefused(f"expected JSON, but {e}") from e
    if not isinstance(head, dict) or head.get("schema_version") != 1:
        raise CheckpointRefused("expected an object with schema_version 1")
    wrong = [name for name, kind in kinds.items() if not isinstance(head.get(name), kind)]
    if wrong or len(head["told"]) != head["epoch"] or head["epoch"] < 1:
        raise CheckpointRefused(f"expected {', '.join(wrong) or 'the numbers of each epoch'} in another form")
    return head
