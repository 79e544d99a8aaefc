"""The health of the inspection loop, as the other threads see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Health:
    """Signs of life of the loop, and faults of the model. Safe to share between threads.

    Args:
        clock: seconds, by a clock that never jumps.
        on_beat: called with each sign of life of the loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, on_beat: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._on_beat = on_beat
        self._lock = threading.Lock()
        self._last_beat = clock()
        self._fault = ""
        self.problem = ""
        """Why no frame is inspected at present, such as a camera that fails; empty when all is well."""

    def beat(self) -> None:
        """Give a sign of life. For the inspection loop only."""
        self._last_beat = self._clock()
        self._on_beat()

    def forgive_silence(self) -> None:
        """Count the silence from now on, as at the begin of a probation."""
        self._last_beat = self._clock()

    def silent_s(self) -> float:
        """Seconds since the last sign of life."""
        return self._clock() - self._last_beat

    def fault(self, reason: str) -> None:
        """Note that the model failed on a frame. The first reason is kept until `take_fault`."""
        with self._lock:
            self._fault = self._fault or reason

    def take_fault(self) -> str:
        """Return and clear the first fault since the last call; empty where there was none."""
        with self._lock:
            fault, self._fault = self._fault, ""
        return fault
