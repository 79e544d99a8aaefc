# SPDX-License-Identifier: AGPL-3.0-only
"""Callbacks of a training whose epochs run in other processes.

With several GPUs, Ultralytics starts a process for each and passes the callbacks to them as a pickle. A client of a
server cannot be pickled. So the training process (far side) writes files into a folder, and a thread of this process
(near side) reads them and makes the calls.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.training.trainer import Checkpoint, CheckpointKeeper, OnEpoch

_POLL_S: Final = 0.2


@dataclass(frozen=True)
class FarSide:
    """`on_epoch` and `CheckpointKeeper` as files in `folder`. Each file is renamed into place when it is whole."""

    folder: Path

    def on_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers of an epoch, as `epoch-00001.json`."""
        self._write(f"epoch-{epoch:05d}.json", json.dumps(dict(numbers)).encode())

    def due(self) -> bool:
        """Whether the near side asks for a checkpoint: its file `due` exists until it has read one."""
        return (self.folder / "due").exists() and not (self.folder / "checkpoint.json").exists()

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write `checkpoint.pt`, then `checkpoint.json`."""
        self._write("checkpoint.pt", checkpoint.state)
        head = {"epoch": checkpoint.epoch, "told": [dict(n) for n in checkpoint.told], "versions": checkpoint.versions}
        self._write("checkpoint.json", json.dumps(head).encode())

    def _write(self, name: str, data: bytes) -> None:
        new = self.folder / f".{name}.new"
        new.write_bytes(data)
        new.replace(self.folder / name)


@contextmanager
def far_side(folder: Path, on_epoch: OnEpoch, keeper: CheckpointKeeper) -> Iterator[FarSide]:
    """The callbacks for the other processes, while the block runs.

    When the block ends, all written epochs have been reported. An error of `on_epoch` is raised then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    near = _NearSide(folder, on_epoch, keeper)
    near.start()
    try:
        yield FarSide(folder)
    finally:
        near.ended.set()
        near.join()
    if near.error is not None:
        raise near.error


class _NearSide(threading.Thread):
    def __init__(self, folder: Path, on_epoch: OnEpoch, keeper: CheckpointKeeper) -> None:
        super().__init__(daemon=True)
        self._folder, self._on_epoch, self._keeper = folder, on_epoch, keeper
        self._told = 0
        self.ended = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ended.wait(_POLL_S):
                self._look()
            self._look()
        except BaseException as e:
            self.error = e

    def _look(self) -> None:
        while (told := self._folder / f"epoch-{self._told + 1:05d}.json").exists():
            self._told += 1
            self._on_epoch(self._told, json.loads(told.read_bytes()))
        asked, head = self._folder / "due", self._folder / "checkpoint.json"
        if head.exists():
            said = json.loads(head.read_bytes())
            state = (self._folder / "checkpoint.pt").read_bytes()
            self._keeper.keep(Checkpoint(said["epoch"], tuple(said["told"]), state, said["versions"]))
            asked.unlink(missing_ok=True)
            head.unlink()
        if self._keeper.due():
            asked.touch()
