"""A recent frame as the operator's page shows it: scaled down, with its detections drawn in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from edge_agent.recent_frames import RecentFrame
from inspection import decode_image
from inspection.image import MAX_PIXELS

_COLOUR_BGR: Final = (40, 40, 230)
_MAX_SIDE: Final = 960
_KEPT: Final = 24


class Drawings:
    """The last drawn frames. One frame is drawn at a time, and each once: a decoded frame may take 300 MB.

    Args:
        make: draws one frame.
    """

    def __init__(self, make: Callable[[RecentFrame], bytes]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._drawn: OrderedDict[str, bytes] = OrderedDict()

    def of(self, frame: RecentFrame) -> bytes:
        """The frame as `draw` draws it.

        Raises:
            ImageError: the bytes cannot be decoded.
        """
        name = frame.result.capture_id
        with self._lock:
            if name not in self._drawn:
                self._drawn[name] = self._make(frame)
                if len(self._drawn) > _KEPT:
                    self._drawn.popitem(last=False)
            return self._drawn[name]


def draw(frame: RecentFrame, max_pixels: int = MAX_PIXELS) -> bytes:
    """Draw a frame with its detections as a JPEG of at most 960 pixels a side.

    Raises:
        ImageError: the bytes cannot be decoded.
    """
    image = decode_image(frame.data, max_pixels=max_pixels)
    height, width = image.shape[:2]
    scale = min(1.0, _MAX_SIDE / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    for found in frame.result.detections:
        x1, y1, x2, y2 = (round(side * scale) for side in found.box.xyxy)
        cv2.rectangle(image, (x1, y1), (x2, y2), _COLOUR_BGR, 2)
        # OpenCV's fonts have ASCII only; the table beside the picture shows class names in any script.
        label = f"{found.class_name.encode('ascii', 'replace').decode()} {found.score:.2f}"
        cv2.putText(image, label, (x1, max(12, y1 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _COLOUR_BGR, 1, cv2.LINE_AA)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return encoded.tobytes()
