"""Boxes in pixels of the original image, and their overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle: pixels, floats, top-left corner, after EXIF orientation.

    Raises:
        ValueError: a value is not finite, or width or height is not positive.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        x, y, width, height = values = (self.x, self.y, self.width, self.height)
        if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(width) and math.isfinite(height)):
            raise ValueError(f"a box needs finite numbers, but got {values}")
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"a box needs a positive width and height, but got {self.width} x {self.height}")

    @classmethod
    def from_xyxy(cls, x1: float, y1: float, x2: float, y2: float) -> Box:
        """Make a box from two corners, in pixels.

        Raises:
            ValueError: not `x2 > x1` and `y2 > y1`.
        """
        return cls(float(x1), float(y1), float(x2) - float(x1), float(y2) - float(y1))

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """The corners (x1, y1, x2, y2), in pixels."""
        return (self.x, self.y, self.x + self.width, self.y + self.height)

    @property
    def area(self) -> float:
        """The area in square pixels."""
        return self.width * self.height

    def clipped(self, width: float, height: float) -> Box | None:
        """The part inside an image of this size in pixels; None where nothing is inside."""
        x1, y1, x2, y2 = self.xyxy
        x1, x2 = max(0.0, x1), min(float(width), x2)
        y1, y2 = max(0.0, y1), min(float(height), y2)
        if x2 <= x1 or y2 <= y1:
            return None
        return Box.from_xyxy(x1, y1, x2, y2)


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A box that a person drew, with its class."""

    class_name: str
    box: Box

    def __post_init__(self) -> None:
        if not self.class_name:
            raise ValueError("a labelled box needs a class name, but got an empty one")


@dataclass(frozen=True, slots=True)
class Detection:
    """A box that a model found, with its class and score (0..1)."""

    class_name: str
    score: float
    box: Box

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a score lies between 0 and 1, but got {self.score}")


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    ax1, ay1, ax2, ay2 = a.xyxy
    bx1, by1, bx2, by2 = b.xyxy
    width = min(ax2, bx2) - max(ax1, bx1)
    height = min(ay2, by2) - max(ay1, by1)
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / (a.area + b.area - overlap)


def iou_matrix(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every box of `a` with every box of `b`.

    Args:
        a: (n, 4) xyxy, pixels.
        b: (m, 4) xyxy, pixels.

    Returns:
        (n, m), 0..1; 0 for two empty boxes.
    """
    a = np.asarray(a, dtype=np.float64).reshape(-1, 4)
    b = np.asarray(b, dtype=np.float64).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0.0)
    overlap = sides[..., 0] * sides[..., 1]
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b[None, :] - overlap
    result: NDArray[np.float64] = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return result
