"""Which part of a camera's pictures is judged, and how the camera is turned: settings of a device, not of a release."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.codec import LEFT_OUT, Document, Part
from inspection.geometry import Box, Detection
from inspection.image import Picture
from inspection.preprocess import Letterbox

_TURNS: Final = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_BLUR_PX: Final = 2
"""Pixels of the input around what is cut away that depend on it, because a picture is scaled and decoded in blocks."""
_LOOKED_AT: Final = 512  # pixels of a side when a region is checked

Point = tuple[float, ...]
Polygon = tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop(Part):
    """A rectangle, in pixels of the picture."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Region(Document):
    """What a camera's pictures show of the part. All places are in pixels of the picture as the camera gives it, after
    EXIF orientation and before `rotate`.

    What is cut away never reaches the network, which gets grey in its place; the rest reaches it at the scale at which
    it would without a region. Boxes on the picture are in pixels of the whole picture.

    Raises:
        ValueError: a crop or mask without the size of the pictures, or that does not lie in them, or leaves nothing.
    """

    width: int | None = None
    """Of the pictures that crop and masks are for, in pixels."""
    height: int | None = None
    """Of the same pictures."""
    crop: Crop | None = None
    """Only what lies in it is judged; without it, the whole picture."""
    mask: tuple[Polygon, ...] = ()
    """What lies in one of these polygons is never judged. Each is a list of points (x, y)."""
    rotate: int = field(default=0, metadata=LEFT_OUT)
    """By how many degrees a picture is turned clockwise for the network: 0, 90, 180 or 270."""

    def __post_init__(self) -> None:
        if self.rotate not in (0, *_TURNS):
            raise ValueError(f"rotate is 0, 90, 180 or 270, but got {self.rotate}")
        if not self.cuts:
            return
        if self.width is None or self.height is None or self.width <= 0 or self.height <= 0:
            raise ValueError("a crop or mask needs the size of the camera's pictures; give picture_size")
        size = f"a picture of {self.width} x {self.height}"
        if (crop := self.crop) is not None and not (
            0 <= crop.x < crop.x + crop.width <= self.width and 0 <= crop.y < crop.y + crop.height <= self.height
        ):
            raise ValueError(
                f"the crop {crop.width} x {crop.height} at ({crop.x}, {crop.y}) does not lie in {size}; make it smaller"
            )
        for number, polygon in enumerate(self.mask, 1):
            if len(polygon) < 3:
                raise ValueError(f"polygon {number} of the mask has {len(polygon)} points; a polygon has at least 3")
            for point in polygon:
                if len(point) != 2 or not all(math.isfinite(value) for value in point):
                    raise ValueError(f"polygon {number} of the mask: expected points [x, y], but got {list(point)}")
                if not (0 <= point[0] <= self.width and 0 <= point[1] <= self.height):
                    raise ValueError(
                        f"polygon {number} of the mask: the point ({point[0]:g}, {point[1]:g}) does not lie in {size}"
                    )
        scale = min(1.0, _LOOKED_AT / max(self.width, self.height))
        small = (max(1, round(self.height * scale)), max(1, round(self.width * scale)))
        if self.drawn(*small, scale, scale).all():
            raise ValueError("crop and mask leave nothing of the picture to judge; make the mask smaller")

    @property
    def cuts(self) -> bool:
        """Whether a part of the picture is cut away."""
        return self.crop is not None or bool(self.mask)

    def fits(self, picture: Picture) -> bool:
        """Whether the region is for pictures of this size."""
        return not self.cuts or (picture.width, picture.height) == (self.width, self.height)

    def turned(self, picture: Picture) -> Picture:
        """The picture as the network gets it."""
        if self.rotate == 0:
            return picture
        pixels = np.asarray(cv2.rotate(picture.pixels, _TURNS[self.rotate]), dtype=np.uint8)
        width, height = (picture.width, picture.height) if self.rotate == 180 else (picture.height, picture.width)
        return Picture(pixels, width, height)

    def on_picture(self, detection: Detection, picture: Picture) -> Detection:
        """A detection on the turned picture, on the picture itself. picture: as the camera gave it."""
        if self.rotate == 0:
            return detection
        x1, y1, x2, y2 = detection.box.xyxy
        width, height = float(picture.width), float(picture.height)
        corners = {
            90: (y1, height - x2, y2, height - x1),
            180: (width - x2, height - y2, width - x1, height - y1),
            270: (width - y2, x1, width - y1, x2),
        }[self.rotate]
        return replace(detection, box=Box.from_xyxy(*corners))

    def drawn(self, height: int, width: int, scale_x: float, scale_y: float) -> NDArray[np.uint8]:
        """What is cut away of a picture, as a picture of (height, width): 1 for cut away, 0 for judged."""
        unturned = Letterbox(scale_x, scale_y, 0, 0, self.width or 1, self.height or 1)
        return self._drawn(height, width, unturned, turned=False)

    def cut_away(self, geometry: Letterbox, height: int, width: int) -> NDArray[np.bool_] | None:
        """What is cut away of one input of the network: (height, width); None where nothing is.

        It is larger than the polygons by `_BLUR_PX`, so that no pixel of the input that is left depends on what is cut
        away.

        Args:
            geometry: where the turned picture lies in the input.
        """
        if not self.cuts:
            return None
        mask = self._drawn(height, width, geometry, turned=True)
        if not mask.any():
            return None
        side = 2 * _BLUR_PX + 1
        return cv2.dilate(mask, np.ones((side, side), np.uint8)).astype(bool)

    def _drawn(self, height: int, width: int, geometry: Letterbox, *, turned: bool) -> NDArray[np.uint8]:
        mask = np.zeros((height, width), np.uint8)
        if self.crop is not None:
            x, y, right, bottom = (
                self.crop.x, self.crop.y, self.crop.x + self.crop.width, self.crop.y + self.crop.height
            )  # fmt: skip
            corners = self._placed(((x, y), (right, y), (right, bottom), (x, bottom)), geometry, turned)
            left, top = np.ceil(corners.min(axis=0) - 1e-6).astype(int)
            to_right, to_bottom = np.floor(corners.max(axis=0) + 1e-6).astype(int)
            mask[:] = 1
            mask[max(0, top) : max(0, to_bottom), max(0, left) : max(0, to_right)] = 0
        for polygon in self.mask:
            # OpenCV counts from the middle of the first pixel, and takes sixteenths of a pixel (shift 4).
            points = np.round((self._placed(polygon, geometry, turned) - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(mask, [points], (1,), shift=4)
        return mask

    def _placed(self, polygon: Polygon, geometry: Letterbox, turned: bool) -> NDArray[np.float64]:
        points = np.array(polygon, np.float64)
        width, height = float(self.width or 1), float(self.height or 1)
        x, y = points[:, 0], points[:, 1]
        if turned and self.rotate:
            x, y = {90: (height - y, x), 180: (width - x, height - y), 270: (y, width - x)}[self.rotate]
        placed: NDArray[Any] = np.stack(
            [x * geometry.scale_x + geometry.pad_left, y * geometry.scale_y + geometry.pad_top], axis=1
        )
        return placed
