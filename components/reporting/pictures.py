"""Makes small pictures for the page: a JPEG as a data URI, and the boxes that the page draws over it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.stores.labels.store import LabelEvent
from inspection.geometry import Box, Detection

_LONGER_SIDE_PX: Final = 480
_QUALITY: Final = 80


@dataclass(frozen=True, slots=True)
class Region:
    """A box to draw, in pixels of the original image, and its text."""

    box: Box
    text: str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image with its approved boxes and the model's boxes. width, height: pixels of the original."""

    sha256: str
    group: str
    width: int
    height: int
    data_uri: str
    labels: tuple[Region, ...]
    detections: tuple[Region, ...]


def make_thumbnail(event: LabelEvent, image: NDArray[np.uint8], detections: tuple[Detection, ...]) -> Thumbnail:
    """Make the small picture of an image. image: (height, width, 3) uint8 BGR."""
    height, width = image.shape[:2]
    scale = min(1.0, _LONGER_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    ok, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not ok:
        raise RuntimeError("OpenCV could not encode a JPEG; is this build of OpenCV complete?")
    return Thumbnail(
        sha256=event.sha256,
        group=event.group,
        width=width,
        height=height,
        data_uri="data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode(),
        labels=tuple(Region(label.box, label.class_name) for label in event.boxes),
        detections=tuple(Region(d.box, f"{d.class_name} {d.score:.2f}") for d in detections),
    )
