"""Ports for the servers of tests. No two test processes of this machine get the same one."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from deploy.local.services import is_free

_FOLDER = Path(tempfile.gettempdir()) / "kizu-test-ports"
_HELD: dict[int, IO[str]] = {}
"""The lock files of the ports of this process. The kernel releases them when it ends, however it ends."""


def reserve(ports: Iterable[int]) -> bool:
    """Take all of these ports for this process, if they are free and no other test process has one; else none."""
    with ExitStack() as stack:
        taken: dict[int, IO[str]] = {}
        for port in ports:
            stream = None if port in _HELD else _lock(port)
            if stream is None:
                return False
            taken[port] = stack.enter_context(stream)
            if not is_free(port):
                return False
        _HELD.update(taken)
        stack.pop_all()  # they stay locked
    return True


def _lock(port: int) -> IO[str] | None:
    _FOLDER.mkdir(exist_ok=True)
    stream = (_FOLDER / str(port)).open("a", encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream
