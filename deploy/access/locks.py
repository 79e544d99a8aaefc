"""Locks between processes of this machine. The kernel releases a lock when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def try_lock(path: Path, *, wait: bool = False) -> IO[str] | None:
    """Take the lock of a file. A missing file is made with mode 0600, in a folder of mode 0700.

    Returns the open file, which holds the lock until it is closed; None if another process holds the lock and `wait` is
    False.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The lock of identities.json stands beside it, and need not look as if others could read either.
    stream = open(path, "a+", encoding="utf-8", opener=_private)  # noqa: SIM115 - Path.open takes no opener
    try:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    except BaseException:
        stream.close()
        raise
    return stream


def _private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    found = os.fstat(descriptor)
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():  # made by an earlier version
        os.fchmod(descriptor, 0o600)
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file. Any number may ask at once: nobody takes another for the holder."""
    try:
        stream = path.open("r", encoding="utf-8")
    except FileNotFoundError:
        return False
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file while the block runs. No other process or thread can hold it. The empty file stays.

    Raises:
        BlockingIOError: another process or thread holds the lock, and `wait` is False.
    """
    stream = try_lock(path, wait=wait)
    if stream is None:
        raise BlockingIOError(f"another process holds the lock {path}")
    with stream:
        yield
