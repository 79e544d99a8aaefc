"""A disk whose power can be cut: it knows what was synced, and a cut leaves no more than that.

Three ways in which real file systems lose what was not synced:

`cut-all`: neither names nor bytes that were not synced are there; `cut-bytes`: names came through, bytes did not (the
rename before the data); `cut-half`: names came through, and half of the bytes. The files of SQLite are as it left
them, since it syncs by itself (`synchronous=FULL`); those of python-tuf, which never syncs, are emptied or halved.
"""

from __future__ import annotations

import os
import shutil
import signal
from itertools import count
from pathlib import Path

from edge_agent.disk import Steps

_FOLDER = -1
HOWS = ("cut-all", "cut-bytes", "cut-half")


class PowerSteps(Steps):
    """Works on the real folder, and beside it keeps names (path -> file) and bytes (by file), now and as synced."""

    def __init__(self, root: Path, how: str) -> None:
        assert how in HOWS
        self._root, self._how = root, how
        self._numbers = count()
        self._names: dict[Path, int] = {}
        self._bytes: dict[int, bytes] = {}
        self._times: dict[int, tuple[int, int]] = {}
        for path in root.rglob("*"):
            if path.is_symlink() or _is_foreign(path):
                continue
            self._names[path] = _FOLDER if path.is_dir() else next(self._numbers)
            if not path.is_dir():
                self._bytes[self._names[path]] = path.read_bytes()
                self._times[self._names[path]] = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        self._synced_names, self._synced_bytes = dict(self._names), dict(self._bytes)

    def write(self, path: Path, data: bytes, mode: int) -> None:
        super().write(path, data, mode)
        self._bytes[self._file(path)] = data

    def append(self, path: Path, data: bytes) -> None:
        super().append(path, data)
        number = self._file(path)
        self._bytes[number] = self._bytes.get(number, b"") + data

    def sync(self, path: Path) -> None:
        super().sync(path)
        self._synced_bytes[self._names[path]] = self._bytes[self._names[path]]

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        for name in [name for name in self._synced_names if name.parent == path]:
            del self._synced_names[name]
        self._synced_names |= {name: number for name, number in self._names.items() if name.parent == path}

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._names[target] = self._names.pop(source)

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self._names[target] = self._names[source]

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._names.pop(path, None)

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self._names[path] = _FOLDER

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        del self._names[path]

    def cut(self) -> None:
        """Leave on the disk what a power cut at this moment leaves, and die."""
        names = self._synced_names if self._how == "cut-all" else self._names
        for path in sorted(self._names.keys() | self._synced_names.keys(), reverse=True):
            if path not in names and path.exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        written: dict[int, Path] = {}
        for path, number in sorted(names.items()):
            if not path.parent.is_dir():
                continue  # its folder is gone, and so is all in it
            if number == _FOLDER:
                path.mkdir(exist_ok=True)
                continue
            path.unlink(missing_ok=True)
            if number in written:
                path.hardlink_to(written[number])  # a rename of which one half is on the disk
                continue
            path.write_bytes(self._left(number))
            if number in self._times:
                os.utime(path, ns=self._times[number])
            written[number] = path
        if self._how != "cut-all":
            for path in (self._root / "state" / "tuf").rglob("*.json"):
                if not path.is_symlink() and path not in self._names:
                    data = path.read_bytes()
                    path.write_bytes(data[: len(data) // 2] if self._how == "cut-half" else b"")
        os.kill(os.getpid(), signal.SIGKILL)

    def _left(self, number: int) -> bytes:
        now, synced = self._bytes[number], self._synced_bytes.get(number)
        if now == synced:
            return now
        if self._how == "cut-half":
            return now[: len(now) // 2]
        return synced or b""

    def _file(self, path: Path) -> int:
        if path not in self._names:
            self._names[path] = next(self._numbers)
        return self._names[path]


def _is_foreign(path: Path) -> bool:
    return path.name.startswith("outbox.sqlite") or (
        path.parent.name in ("tuf", "root_history") and path.is_file() and path.name != "desired.json"
    )
