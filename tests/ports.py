"""Ports for the servers of tests. No two test processes of this machine get the same one."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import IO

from deploy.local.services import is_free

_FILE = Path(tempfile.gettempdir()) / "kizu-test-ports.lock"
_HELD: set[int] = set()
"""The ports of this process. Each is a locked byte of one file; the kernel unlocks them when the process ends."""


def reserve(ports: Iterable[int]) -> bool:
    """Take all of these ports for this process, if they are free and no other test process has one; else none."""
    taken: set[int] = set()
    for port in ports:
        if port not in _HELD | taken and _lock(port):
            taken.add(port)
            if is_free(port):
                continue
        for mine in taken:
            fcntl.lockf(_file(), fcntl.LOCK_UN, 1, mine)
        return False
    _HELD.update(taken)
    return True


@cache
def _file() -> IO[bytes]:
    # One open file for all ports: to close a second one would unlock them all.
    return _FILE.open("ab")


def _lock(port: int) -> bool:
    try:
        fcntl.lockf(_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True
