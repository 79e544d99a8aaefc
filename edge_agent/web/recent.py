"""The last frames, for the operator's page. In memory only, and bounded in count and bytes."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from edge_agent.result import Result
from inspection import decode_image

_COLOUR_BGR: Final = (40, 40, 230)
_MAX_SIDE: Final = 960


@dataclass(frozen=True, slots=True)
class RecentFrame:
    """A result and the bytes it was drawn from."""

    result: Result
    data: bytes


class RecentFrames:
    """Newest first. Safe to share between threads."""

    def __init__(self, max_frames: int = 12, max_bytes: int = 24_000_000) -> None:
        self._max_bytes = max_bytes
        self._frames: deque[RecentFrame] = deque(maxlen=max_frames)
        self._lock = threading.Lock()

    def add(self, result: Result, data: bytes) -> None:
        """Keep a frame; the oldest go."""
        with self._lock:
            self._frames.appendleft(RecentFrame(result, data))
            while len(self._frames) > 1 and sum(len(frame.data) for frame in self._frames) > self._max_bytes:
                self._frames.pop()

    def all(self) -> tuple[RecentFrame, ...]:
        """What is kept."""
        with self._lock:
            return tuple(self._frames)

    def find(self, capture_id: str) -> RecentFrame | None:
        """One of them."""
        return next((frame for frame in self.all() if frame.result.capture_id == capture_id), None)


def draw(frame: RecentFrame) -> bytes:
    """The frame as a JPEG of at most 960 pixels a side, with its detections.

    Raises:
        ImageError: the bytes are no image any more.
    """
    image = decode_image(frame.data)
    height, width = image.shape[:2]
    scale = min(1.0, _MAX_SIDE / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    for found in frame.result.detections:
        x1, y1, x2, y2 = (round(side * scale) for side in found.box.xyxy)
        cv2.rectangle(image, (x1, y1), (x2, y2), _COLOUR_BGR, 2)
        # OpenCV's fonts know ASCII only; a class name in Japanese is in the table beside the picture.
        label = f"{found.class_name.encode('ascii', 'replace').decode()} {found.score:.2f}"
        cv2.putText(image, label, (x1, max(12, y1 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _COLOUR_BGR, 1, cv2.LINE_AA)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return encoded.tobytes()
