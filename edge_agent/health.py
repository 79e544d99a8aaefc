"""Whether the inspection loop is alive and well, as the other threads see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Health:
    """Beats of the loop and faults of the model. Safe to share between threads; clock: seconds that never jump."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last_beat = clock()
        self._fault = ""
        self.problem = ""
        """Why no frame is inspected at present, such as a camera that is gone; empty when all is well."""

    def beat(self) -> None:
        """The loop is alive."""
        self._last_beat = self._clock()

    def silent_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._last_beat

    def fault(self, reason: str) -> None:
        """The model failed on a frame; the first reason is kept until it is taken."""
        with self._lock:
            self._fault = self._fault or reason

    def take_fault(self) -> str:
        """The fault since the last call; empty where there was none."""
        with self._lock:
            fault, self._fault = self._fault, ""
        return fault
