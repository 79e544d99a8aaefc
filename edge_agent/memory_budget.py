"""How many bytes images may take in memory: one budget for decoding, for bodies that arrive, and for what waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from inspection.image import MAX_PIXELS

_BYTES_A_PIXEL: Final = 6
"""Three of the picture, and three of its copy while it is turned upright."""


class MemoryBudget:
    """Two thirds are for the one image that is decoded, the rest is shared by the encoded images that wait.

    What one image may take does not depend on the others: the same image is never inspected at one time and refused at
    another. Safe to share between threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_pixels: Final = min(MAX_PIXELS, max_bytes * 2 // 3 // _BYTES_A_PIXEL)
        """Larger images are refused before they are decoded."""
        self.waiting_bytes: Final = max_bytes // 3
        """For all encoded images that are being received or wait, and the most for one of them."""
        self._lock = threading.Lock()
        self._taken = 0

    @contextmanager
    def holding(self, size: int) -> Iterator[bool]:
        """Hold room for an encoded image; False where there is none."""
        taken = self._take(size)
        try:
            yield taken
        finally:
            if taken:
                self._take(-size)

    def free_bytes(self) -> int:
        """Room for encoded images at this moment."""
        with self._lock:
            return self.waiting_bytes - self._taken

    def _take(self, size: int) -> bool:
        with self._lock:
            if size > self.waiting_bytes - self._taken:
                return False
            self._taken += size
            return True
