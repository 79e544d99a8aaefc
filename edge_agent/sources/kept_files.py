"""A folder of files that a camera has put away: it has a limit in files and in bytes, and the oldest files go first."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.disk import Disk

_log = logging.getLogger(__name__)

NOTE: Final = ".reason.txt"
"""The ending of the text beside a file that says why it was put away. The file and its note go together."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file with its note, or a note alone that a kill has left. order: files with a lower one are older."""

    order: tuple[int, str]
    paths: tuple[Path, ...]
    size: int


class KeptFiles:
    """The files in one folder; folders in it, and what lies in them, stay.

    Args:
        max_files: more than a tenth beyond it are removed, so that not every file lists the folder.
        by_name: whether names begin with the time of the file. Otherwise a note tells the age of its file by the time
            that it was written, since a camera may date its files as it likes.
        removed: called with the number of files that were removed, after they were.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_files: int,
        max_bytes: int,
        disk: Disk,
        by_name: bool,
        removed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._disk = disk
        self._by_name = by_name
        self._removed = removed
        self._count = self._bytes = 0
        try:
            kept = self._files()
        except OSError:  # there is no such folder yet, or it cannot be read now; the first file counts anew
            return
        self._count, self._bytes = len(kept), sum(item.size for item in kept)

    def add(self, size: int) -> None:
        """Count a file that was put here just now, and remove the oldest files beyond the limits. size: in bytes."""
        self._count += 1
        self._bytes += size
        if self._count > self._max_files * 1.1 + 10 or self._bytes > self._max_bytes:
            self._prune()

    def _prune(self) -> None:
        try:
            kept = self._files()
        except OSError as e:
            _log.warning("cannot look for old files in %s: %s", self._folder, e.strerror)
            return
        self._count, self._bytes = len(kept), sum(item.size for item in kept)
        # Nine tenths of the bytes, so that not every frame lists the folder.
        most_bytes = self._max_bytes if self._bytes <= self._max_bytes else self._max_bytes * 0.9
        removed = 0
        for item in kept:
            if self._count <= self._max_files and self._bytes <= most_bytes:
                break
            self._count -= 1
            self._bytes -= item.size
            try:
                for path in item.paths:
                    self._disk.remove(path)
                removed += 1
            except OSError as e:  # it stays, and the next newer one goes
                _log.warning("cannot remove %s: %s", item.paths[0], e.strerror)
        if removed:
            self._removed(removed)

    def _files(self) -> list[_Kept]:
        """What is kept, oldest first."""
        return sorted(self._grouped(), key=lambda item: item.order)

    def _grouped(self) -> Iterator[_Kept]:
        with os.scandir(self._folder) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries if _is_file(entry)}
        for name, status in found.items():
            if self._by_name:
                yield _Kept((0, name), (self._folder / name,), status.st_size)
                continue
            if name.endswith(NOTE) and name.removesuffix(NOTE) in found:
                continue  # it goes with its file
            note = found.get(f"{name}{NOTE}")
            # The note goes last: a file without one would tell its age by the time of its camera.
            paths = (self._folder / name, *((self._folder / f"{name}{NOTE}",) if note is not None else ()))
            written = (note or status).st_mtime_ns
            yield _Kept((written, name), paths, status.st_size + (note.st_size if note is not None else 0))


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)
