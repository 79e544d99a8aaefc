"""The last inspected frames, for the operator's page and for objections. In memory only; bounded in count and bytes."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from edge_agent.result import Result
from inspection.anomaly import AnomalyMap


@dataclass(frozen=True, slots=True)
class RecentFrame:
    """The result of one frame, and the bytes of its image as the camera delivered them; no bytes without an image.

    anomaly_map: what the verdict came from, where the release answers one; some ten kilobytes.
    """

    result: Result
    data: bytes
    anomaly_map: AnomalyMap | None = None


class RecentFrames:
    """At most `max_frames` frames and `max_bytes` bytes, newest first. Safe to share between threads."""

    def __init__(self, max_frames: int = 12, max_bytes: int = 24_000_000) -> None:
        self._max_bytes = max_bytes
        self._frames: deque[RecentFrame] = deque(maxlen=max_frames)
        self._lock = threading.Lock()

    def add(self, result: Result, data: bytes, anomaly_map: AnomalyMap | None = None) -> None:
        """Keep a frame, and remove the oldest ones that no longer fit.

        A result without an image replaces one just before it, so that a camera that is gone does not push out all the
        pictures that an operator may still object to.
        """
        with self._lock:
            if not data and self._frames and not self._frames[0].data:
                self._frames.popleft()
            self._frames.appendleft(RecentFrame(result, data, anomaly_map))
            while len(self._frames) > 1 and sum(len(frame.data) for frame in self._frames) > self._max_bytes:
                self._frames.pop()

    def all(self) -> tuple[RecentFrame, ...]:
        """All frames that are kept, newest first."""
        with self._lock:
            return tuple(self._frames)

    def find(self, capture_id: str) -> RecentFrame | None:
        """The frame with this `capture_id`; None where it is no longer kept."""
        return next((frame for frame in self.all() if frame.result.capture_id == capture_id), None)
