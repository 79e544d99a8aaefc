"""Counts what the line shows, window by window, to be compared with what the running release learned from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from edge_agent.result import Result
from inspection import Inspection
from inspection.drift import DetectionCounter, LineWindow, LineWindows, PictureCounter

FRAMES: Final = 500
"""A window is full with so many frames,"""
SHORTEST: Final = timedelta(minutes=10)
"""but not earlier, so that a fast line does not report without a pause;"""
LONGEST: Final = timedelta(days=1)
"""after this time it is full with any frame."""


class LineCounts:
    """The open window and the latest full ones, all of one release. Safe to share between threads.

    Args:
        utc_now: the time of day. A clock that is set moves the end of one window and does nothing else.
    """

    def __init__(
        self,
        *,
        frames: int = FRAMES,
        shortest: timedelta = SHORTEST,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._frames = frames
        self._shortest = shortest
        self._utc_now = utc_now
        self._lock = threading.Lock()
        self._digest = ""
        self._first: LineWindow | None = None
        self._full: tuple[LineWindow, ...] = ()
        self._since = utc_now()
        self._counted = 0
        self._pictures, self._detections = PictureCounter(), DetectionCounter()
        self.closed = 0
        """Goes up with each window that is closed."""

    def add(self, result: Result, inspection: Inspection, width: int, height: int) -> None:
        """Count one frame of `width` x `height` pixels that was judged. Another release than before begins anew."""
        with self._lock:
            if result.release_digest != self._digest:
                self._digest, self._first, self._full = result.release_digest or "", None, ()
                self._begin()
            if not self._counted:
                self._since = self._utc_now()
            if inspection.picture is not None:
                self._pictures.add(inspection.picture)
            self._detections.add(result.verdict, result.detections, width, height)
            self._counted += 1
            if self._counted >= self._frames:
                self._close_if_full()

    def close_if_full(self) -> None:
        """Close the open window if its time has come, also where no frame comes any more."""
        with self._lock:
            self._close_if_full()

    def windows(self, device: str, use_case: str) -> LineWindows | None:
        """What the device tells of its line; None before the first full window."""
        with self._lock:
            if not self._full:
                return None
            return LineWindows(
                device=device,
                use_case=use_case,
                release_digest=self._digest,
                windows=self._full,
                first=self._first,
            )

    def kept(self) -> tuple[str, LineWindow | None, tuple[LineWindow, ...], LineWindow] | None:
        """The release, its first window, the latest full ones, and the open one; None where nothing was counted."""
        with self._lock:
            return (self._digest, self._first, self._full, self._window()) if self._digest else None

    def restore(self, digest: str, first: LineWindow | None, full: tuple[LineWindow, ...], begun: LineWindow) -> None:
        """Go on from what an earlier start had counted. For the start, before anything else."""
        with self._lock:
            self._digest, self._first, self._full = digest, first, full[-LineWindows.MOST :]
            self._since = begun.since
            self._pictures = PictureCounter(begun.pictures)
            self._detections = DetectionCounter(begun.detections)
            self._counted = self._detections.frames

    def _begin(self) -> None:
        self._counted = 0
        self._pictures, self._detections = PictureCounter(), DetectionCounter()

    def _window(self) -> LineWindow:
        return LineWindow(
            since=self._since,
            until=max(self._since, self._utc_now()),
            pictures=self._pictures.counts(),
            detections=self._detections.counts(),
        )

    def _close_if_full(self) -> None:
        age = self._utc_now() - self._since
        if self._counted and (age >= LONGEST or (self._counted >= self._frames and age >= self._shortest)):
            window = self._window()
            self._first = self._first or window
            self._full = (*self._full, window)[-LineWindows.MOST :]
            self.closed += 1
            self._begin()
