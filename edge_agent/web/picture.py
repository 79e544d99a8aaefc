"""A recent frame as the operator's page shows it: scaled down, with its detections and anomaly map drawn in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.memory_budget import BYTES_A_PIXEL, MemoryBudget
from edge_agent.recent_frames import RecentFrame
from inspection import decode_image, image_format
from inspection.anomaly import AnomalyMap
from inspection.image import image_size
from inspection.picture import PictureProblem
from inspection.region import Region

_COLOUR_BGR: Final = (40, 40, 230)
_HEAT_COVER: Final = 0.6
_BORDER_BGR: Final = (200, 200, 200)
_MAX_SIDE: Final = 960
_KEPT: Final = 24


class NoRoom(Exception):
    """The memory for images has no room for a drawing; the message says what to do."""


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
            NoRoom: there is no memory for it.
        """
        name = frame.result.capture_id
        with self._lock:
            if name not in self._drawn:
                self._drawn[name] = self._make(frame)
                if len(self._drawn) > _KEPT:
                    self._drawn.popitem(last=False)
            return self._drawn[name]


def draw(frame: RecentFrame, budget: MemoryBudget, region: Region | None = None) -> bytes:
    """Draw a frame with its detections as a JPEG of at most 960 pixels a side, in memory that images leave free.

    What is cut away of the picture, and therefore never judged, is dark and has a light border.

    Args:
        region: what is judged of the camera's pictures; all of them where it is None.

    Raises:
        ImageError: the bytes cannot be decoded.
        NoRoom: there is no memory for it at present, or the frame is too large to be ever drawn.
    """
    size = image_size(frame.data)
    shrink = _shrink(max(size)) if size is not None and image_format(frame.data) == "jpeg" else 1
    # Where the header does not tell the size, all the room is asked for.
    pixels = -(-size[0] // shrink) * -(-size[1] // shrink) if size is not None else budget.max_pixels
    needed = min(pixels, budget.max_pixels) * BYTES_A_PIXEL
    if needed > budget.waiting_bytes:
        if size is not None:
            raise NoRoom(f"a picture of {size[0]} x {size[1]} is too large to be shown; raise memory.image_bytes")
        needed = budget.waiting_bytes
    with budget.drawing(needed) as has_room:
        if not has_room:
            raise NoRoom("busy: the memory for images (memory.image_bytes) is taken; ask again in a moment")
        return _draw(frame, decode_image(frame.data, max_pixels=budget.max_pixels, shrink=shrink), size, region)


def _shrink(side: int) -> int:
    return next((shrink for shrink in (8, 4, 2) if side // shrink >= _MAX_SIDE), 1)


def _heated(image: NDArray[np.uint8], anomaly_map: AnomalyMap) -> NDArray[np.uint8]:
    """The shown image under its heat map: the less a place looks like a good part, the more of the colour covers it."""
    height, width = image.shape[:2]
    heat = anomaly_map.over(width, height)
    colours = np.asarray(cv2.applyColorMap(heat, cv2.COLORMAP_JET), np.uint8)
    cover = heat.astype(np.float32) * np.float32(_HEAT_COVER / 255)
    return np.asarray(cv2.blendLinear(image, colours, 1 - cover, cover), np.uint8)


def _draw(frame: RecentFrame, image: NDArray[np.uint8], full: tuple[int, int] | None, region: Region | None) -> bytes:
    height, width = image.shape[:2]
    shrunk = max(height, width) / max(full) if full is not None else 1.0
    scale = min(1.0, _MAX_SIDE / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if frame.anomaly_map is not None:
        image = _heated(image, frame.anomaly_map)
    if region is not None and region.cuts and frame.result.reason != PictureProblem.REGION:
        _darken(image, region)
    for found in frame.result.detections:
        x1, y1, x2, y2 = (round(side * scale * shrunk) for side in found.box.xyxy)
        cv2.rectangle(image, (x1, y1), (x2, y2), _COLOUR_BGR, 2)
        # OpenCV's fonts have ASCII only; the table beside the picture shows class names in any script.
        label = f"{found.class_name.encode('ascii', 'replace').decode()} {found.score:.2f}"
        cv2.putText(image, label, (x1, max(12, y1 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _COLOUR_BGR, 1, cv2.LINE_AA)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return encoded.tobytes()


def _darken(image: NDArray[np.uint8], region: Region) -> None:
    """Darken what is cut away. image: (h, w, 3) uint8, BGR, the whole picture at any scale; it is changed."""
    height, width = image.shape[:2]
    mask = region.drawn(height, width, width / (region.width or 1), height / (region.height or 1))
    cut_away = mask.astype(bool)
    image[cut_away] //= 3
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(image, outlines, -1, _BORDER_BGR, 1)
