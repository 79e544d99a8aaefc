"""A lock on the state folder, so that only one agent uses it, and the wait for a folder that cannot be written."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_agent.backoff import Backoff
from edge_agent.disk import RealDisk
from edge_agent.errors import STORAGE, StateError, Unwritable

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 90.0
"""How long a start waits for the folder: less than the service manager waits for the start (`TimeoutStartSec`)."""


class FolderLock:
    """Held by the agent that uses a state folder. The kernel releases it however the process ends.

    Raises:
        Unwritable: the folder cannot be written at present.
        StateError: another agent holds it, or it is no folder.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "agent.lock"
        try:
            RealDisk().make_folder(folder)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            if e.errno in STORAGE:
                raise Unwritable(
                    f"the state folder {folder} cannot be written ({e.strerror}), and an agent does not start without "
                    "it; give it to the agent's user, mount its disk for writing, or free some of it"
                ) from e
            raise StateError(f"cannot use the state folder {folder}: {e.strerror}") from e
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._descriptor)
            raise StateError(
                f"another agent runs on {folder}; stop it first, or give this one a folder of its own"
            ) from e

    def release(self) -> None:
        """Release the lock, so that another agent may start."""
        os.close(self._descriptor)


def lock_when_writable(
    folder: Path,
    stop: threading.Event,
    *,
    patience_s: float = PATIENCE_S,
    monotonic: Callable[[], float] = time.monotonic,
) -> FolderLock | None:
    """Lock the state folder, and wait a while where it cannot be written: a disk may come later than the agent.

    Returns:
        None where `stop` was set meanwhile.

    Raises:
        Unwritable: it could not be written for `patience_s`. Whoever started the agent starts it again.
        StateError: as `FolderLock`.
    """
    until, backoff = monotonic() + patience_s, Backoff(first_s=1.0, limit_s=15.0)
    while True:
        try:
            return FolderLock(folder)
        except Unwritable as e:
            left = until - monotonic()
            if left <= 0:
                raise
            _log.error("nothing is inspected: %s; the agent looks again for %.0f s, and then ends", e, left)
            if stop.wait(min(backoff.failed(), left)):
                return None
