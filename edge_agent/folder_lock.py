"""A lock on the state folder, so that only one agent uses it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edge_agent.disk import RealDisk
from edge_agent.errors import StateError


class FolderLock:
    """Held by the agent that uses a state folder. The kernel releases it however the process ends.

    Raises:
        StateError: another agent holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "agent.lock"
        try:
            RealDisk().make_folder(folder)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
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
