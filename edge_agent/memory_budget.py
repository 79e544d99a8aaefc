"""How many bytes images may take in memory: one budget for decoding, for what arrives and waits, and for the page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from inspection.image import MAX_PIXELS

BYTES_A_PIXEL: Final = 6
"""Three of the picture, and three of its copy while it is turned upright."""
_DRAWING_S: Final = 2.0
"""How long a camera waits for a drawing of the page to end. A drawing takes less."""


class MemoryBudget:
    """Two thirds are for the one image that is decoded; the rest is shared by what waits, and by the page's drawing.

    What waits are posted images, encoded, and the pictures of cameras, as pixels until their turn. How large one image
    may be does not depend on the others: the same image is never inspected at one time and too large at another. A
    drawing takes only what is free, one at a time, and cameras wait for it to end: it costs them no picture. Safe to
    share between threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_pixels: Final = min(MAX_PIXELS, max_bytes * 2 // 3 // BYTES_A_PIXEL)
        """Larger images are refused before they are decoded."""
        self.waiting_bytes: Final = max_bytes // 3
        """For all images that are being received or wait, and the most for one of them."""
        self._changed = threading.Condition()
        self._taken = 0
        self._drawing = False

    @contextmanager
    def holding(self, size: int) -> Iterator[bool]:
        """Hold room for an encoded image; False where there is none."""
        with self._changed:
            taken = self._take(size)
        try:
            yield taken
        finally:
            if taken:
                self.give_back(size)

    @contextmanager
    def drawing(self, size: int) -> Iterator[bool]:
        """Hold room while the page decodes a frame; False where there is none, or another frame is being drawn."""
        with self._changed:
            taken = not self._drawing and self._take(size)
            self._drawing = self._drawing or taken
        try:
            yield taken
        finally:
            if taken:
                with self._changed:
                    self._drawing = False
                self.give_back(size)

    def is_drawing(self) -> bool:
        """Whether the page holds room at this moment; it gives it back soon."""
        with self._changed:
            return self._drawing

    def take(self, size: int, wait_s: float = 0.0) -> bool:
        """Take room for a picture, for a thread that may wait; False where there is none.

        Args:
            wait_s: how long to wait for room that other images hold. A drawing of the page is waited for in any case.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._fits(size) or not self._drawing, _DRAWING_S)
            if wait_s > 0:
                self._changed.wait_for(lambda: self._fits(size), wait_s)
            return self._take(size)

    def take_spare(self, size: int) -> bool:
        """Take room for a frame that a candidate judges, which nobody waits for: at most a quarter of what is free."""
        with self._changed:
            return size <= (self.waiting_bytes - self._taken) // 4 and self._take(size)

    def exchange(self, size: int, other: int) -> bool:
        """Hold room of another size in the place of what is held; False, and nothing changes, where there is none."""
        with self._changed:
            if not self._fits(other - size):
                return False
            self._taken += other - size
            self._changed.notify_all()
            return True

    def give_back(self, size: int) -> None:
        """Give back room that was taken."""
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    def free_bytes(self) -> int:
        """Room for images that wait, at this moment."""
        with self._changed:
            return self.waiting_bytes - self._taken

    def _fits(self, size: int) -> bool:
        return size <= self.waiting_bytes - self._taken

    def _take(self, size: int) -> bool:
        if not self._fits(size):
            return False
        self._taken += size
        return True
