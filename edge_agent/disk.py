"""File operations that survive a power cut: it leaves the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

TEMPORARY: Final = ".tmp"
"""The ending of the name of an unfinished file; the name begins with a dot."""

_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})


def shortened(name: str, max_bytes: int) -> str:
    """A file name of at most `max_bytes` bytes: the end of the stem goes, and the ending of the name stays.

    >>> shortened("part-0001.png", 10)
    'part-0.png'
    """
    stem, dot, ending = name.rpartition(".")
    if not dot or len(os.fsencode(ending)) > 12:
        stem, dot, ending = name, "", ""
    while stem and len(os.fsencode(f"{stem}{dot}{ending}")) > max_bytes:
        stem = stem[:-1]
    return f"{stem}{dot}{ending}"


class Disk(Protocol):
    """The file operations of the agent that must survive a crash. All but `append` and `link` are durable at their end.

    The files of SQLite and the metadata cache of python-tuf do not go through here: those libraries write them.
    """

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Replace the whole file; where that fails, the old one stays."""

    def append(self, path: Path, data: bytes) -> None:
        """Add to the end of an unfinished file, which is created where there is none.

        This is not durable before `finish`. After a power cut the file may hold less, or zeros, so a caller that
        continues it must check the digest of the whole.
        """

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name on the same file system. The name is not durable before `sync_tree`."""

    def sync_tree(self, path: Path) -> None:
        """Make a folder with everything in it durable: what `append` and `link` left there."""

    def finish(self, part: Path, target: Path) -> None:
        """Rename an unfinished file to `target` in the same folder, which is replaced."""

    def move(self, source: Path, target: Path) -> None:
        """Move a file, also to another file system; the target is replaced."""

    def remove(self, path: Path) -> None:
        """Remove a file; no error where there is none."""

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with everything in it; no error where there is none."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents; no error where there is one."""

    def free_bytes(self, path: Path) -> int:
        """Free bytes on the file system of an existing path."""


class Steps:
    """The single steps that `RealDisk` is made of: one change each, none of them durable by itself.

    They are a class of their own so that a test can stop between any two, and drop what was not synced.
    """

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Create a file, or empty it, and write to it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)

    def append(self, path: Path, data: bytes) -> None:
        """Add to a file, which is created where there is none."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(data)

    def sync(self, path: Path) -> None:
        """Make a file's bytes durable."""
        _sync(path, os.O_RDONLY)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable; otherwise a power cut may undo a rename."""
        try:
            _sync(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as e:
            # Some network file systems cannot. A camera's folder may lie on one, and a frame that comes twice is known.
            if e.errno not in _CANNOT_SYNC:
                raise

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file; `target` is replaced at once. Raises OSError EXDEV where it lies on another file system."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name. Raises FileExistsError where there is one."""
        target.hardlink_to(source)

    def unlink(self, path: Path) -> None:
        """Remove a file. Raises FileNotFoundError where there is none."""
        path.unlink()

    def make_folder(self, path: Path) -> None:
        """Create one folder. Raises FileExistsError where there is one."""
        path.mkdir()

    def remove_folder(self, path: Path) -> None:
        """Remove one empty folder."""
        path.rmdir()


class RealDisk:
    """`Disk` on this machine. A write goes to a temporary file in the same folder: fsync, rename, fsync of the folder.

    The name of the temporary file depends on the name of the file only, so that the next write after a crash replaces
    what the crash left. Two threads must not write the same file at once.
    """

    def __init__(self, steps: Steps | None = None) -> None:
        self._steps = steps or Steps()

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """See `Disk.write`."""
        temporary = path.with_name(f".{shortened(path.name[:80], 240)}{TEMPORARY}")
        try:
            self._steps.write(temporary, data, mode)
            self._steps.sync(temporary)
            self._steps.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                self._steps.unlink(temporary)
            raise
        self._steps.sync_folder(path.parent)

    def append(self, path: Path, data: bytes) -> None:
        """See `Disk.append`."""
        self._steps.append(path, data)

    def link(self, source: Path, target: Path) -> None:
        """See `Disk.link`."""
        self._steps.link(source, target)

    def sync_tree(self, path: Path) -> None:
        """See `Disk.sync_tree`."""
        for folder, _, names in os.walk(path, topdown=False):
            for name in names:
                self._steps.sync(Path(folder, name))
            self._steps.sync_folder(Path(folder))

    def finish(self, part: Path, target: Path) -> None:
        """See `Disk.finish`."""
        self._steps.sync(part)
        self._steps.rename(part, target)
        self._steps.sync_folder(target.parent)

    def move(self, source: Path, target: Path) -> None:
        """See `Disk.move`."""
        try:
            if target.exists() and target.samefile(source):
                # A power cut left the file under both names; a rename of a file to itself would change nothing.
                self._steps.unlink(source)
            else:
                self._steps.rename(source, target)
        except OSError as e:
            # The kernel decides, not `st_dev`: two mounts of one file system have the same `st_dev` and refuse as well.
            if e.errno != errno.EXDEV:
                raise
            self.write(target, source.read_bytes(), mode=0o644)
            self._steps.unlink(source)
        # In this order, a power cut between the two leaves the file in both folders; in the other order, in none.
        self._steps.sync_folder(target.parent)
        self._steps.sync_folder(source.parent)

    def remove(self, path: Path) -> None:
        """See `Disk.remove`."""
        try:
            self._steps.unlink(path)
        except FileNotFoundError:
            # An earlier start may have been killed between the two steps. Where the folder is gone, nothing is to sync.
            if not path.parent.exists():
                return
        self._steps.sync_folder(path.parent)

    def remove_tree(self, path: Path) -> None:
        """See `Disk.remove_tree`."""
        if not path.exists():
            return
        for folder, folders, files in os.walk(path, topdown=False):
            for name in files:
                self._steps.unlink(Path(folder, name))
            for name in folders:
                child = Path(folder, name)
                if child.is_symlink():
                    self._steps.unlink(child)
                else:
                    self._steps.remove_folder(child)
        self._steps.remove_folder(path)
        self._steps.sync_folder(path.parent)

    def make_folder(self, path: Path) -> None:
        """See `Disk.make_folder`."""
        made = True
        try:
            self._steps.make_folder(path)
        except FileExistsError:
            if not path.is_dir():
                raise
            made = False
        except FileNotFoundError:
            self.make_folder(path.parent)
            self._steps.make_folder(path)
        try:
            # A folder that is there may have been made just before a kill; its name need not be durable yet.
            self._steps.sync_folder(path.parent)
        except PermissionError:
            if made:
                raise

    def free_bytes(self, path: Path) -> int:
        """See `Disk.free_bytes`."""
        return shutil.disk_usage(path).free


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
