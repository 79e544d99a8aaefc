"""Writing so that a power cut leaves the old or the new, never half of one."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

TEMPORARY: Final = ".tmp"
"""How the name of an unfinished file ends; it begins with a dot."""

_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})


class Disk(Protocol):
    """The file operations of the agent that must survive a crash; each but `append` is durable when it returns.

    SQLite's files and python-tuf's metadata cache are those libraries' own.
    """

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Replace the whole file, or leave the old one."""

    def append(self, path: Path, data: bytes) -> None:
        """Add to the end of an unfinished file, which is made where there is none. Not durable before `finish`: after
        a power cut it may hold less, or zeros, so whoever goes on with it checks the digest of the whole.
        """

    def finish(self, part: Path, target: Path) -> None:
        """What was appended becomes `target`, in the same folder, which is replaced."""

    def move(self, source: Path, target: Path) -> None:
        """Move a file, over file systems too; the target is replaced."""

    def remove(self, path: Path) -> None:
        """Remove a file; no error where there is none."""

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all in it; no error where there is none."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents; no error where there is one."""

    def free_bytes(self, path: Path) -> int:
        """Free bytes on the file system of an existing path."""


class Steps:
    """What `RealDisk` is made of: one change each, none of them durable by itself.

    Apart, so that a test can stop between any two, and forget what was not synced.
    """

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Make or empty a file and fill it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)

    def append(self, path: Path, data: bytes) -> None:
        """Make a file or add to it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(data)

    def sync(self, path: Path) -> None:
        """Make a file's bytes durable."""
        _sync(path, os.O_RDONLY)

    def sync_folder(self, path: Path) -> None:
        """Make names in a folder durable; without it a power cut may undo a rename."""
        try:
            _sync(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as e:
            # Some network file systems cannot; a camera's folder may lie on one, and its frames can come twice.
            if e.errno not in _CANNOT_SYNC:
                raise

    def rename(self, source: Path, target: Path) -> None:
        """Replace `target` at once; EXDEV over file systems."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a file; FileNotFoundError where there is none."""
        path.unlink()

    def make_folder(self, path: Path) -> None:
        """One folder; FileExistsError where there is one."""
        path.mkdir()

    def remove_folder(self, path: Path) -> None:
        """One empty folder."""
        path.rmdir()


class RealDisk:
    """`Disk` on this machine: temporary file in the same folder, fsync, rename, fsync of the folder.

    The temporary file's name depends on the file's alone, so whoever writes again after a crash writes over what the
    crash left. Two writers of the same file must not write at once.
    """

    def __init__(self, steps: Steps | None = None) -> None:
        self._steps = steps or Steps()

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """See `Disk.write`."""
        temporary = path.with_name(f".{path.name[:80]}{TEMPORARY}")
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

    def finish(self, part: Path, target: Path) -> None:
        """See `Disk.finish`."""
        self._steps.sync(part)
        self._steps.rename(part, target)
        self._steps.sync_folder(target.parent)

    def move(self, source: Path, target: Path) -> None:
        """See `Disk.move`."""
        try:
            if target.exists() and target.samefile(source):
                # A power cut left the new name and the old one; a rename of a file to itself would change nothing.
                self._steps.unlink(source)
            else:
                self._steps.rename(source, target)
        except OSError as e:
            # Asked of the kernel rather than of `st_dev`: two mounts of one file system have the same and refuse too.
            if e.errno != errno.EXDEV:
                raise
            self.write(target, source.read_bytes(), mode=0o644)
            self._steps.unlink(source)
        # In this order: a power cut between the two leaves the file in both folders, never in none.
        self._steps.sync_folder(target.parent)
        self._steps.sync_folder(source.parent)

    def remove(self, path: Path) -> None:
        """See `Disk.remove`."""
        try:
            self._steps.unlink(path)
        except FileNotFoundError:
            # An earlier start may have been killed between the two steps; a folder that is gone has nothing to sync.
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
            # A folder found here may be one that was made just before a kill: its name need not be durable yet.
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
