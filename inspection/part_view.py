"""How a camera sees a part: millimetres a pixel, and where the part lies. Zones of a part, and what touches them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from inspection.codec import Part
from inspection.geometry import Box

Point = tuple[float, float]


class Unmeasured(StrEnum):
    """Why a rule cannot be judged on a picture."""

    NO_SCALE = "no-scale"
    """The rule has a limit in millimetres, and nobody said how many millimetres a pixel of this camera has."""
    NO_PART_FRAME = "no-part-frame"
    """The rule has a zone, and nobody said where the part lies in the pictures of this camera."""
    OTHER_SIZE = "other-size"
    """The picture has another size in pixels than the pictures that the camera was calibrated with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartView:
    """How a camera sees a part. What is not given is not known.

    mm_per_px: millimetres a pixel, where the part is. mm_per_px_uncertainty: by how much that may be wrong, in
    millimetres a pixel. origin_px: where the origin of the part lies, in pixels of the picture. angle_deg: by how much
    the part's x axis is turned from the picture's, clockwise as one sees it. size_px: width and height of the pictures
    that this holds for; None for all.
    """

    mm_per_px: float | None = None
    mm_per_px_uncertainty: float = 0.0
    origin_px: Point | None = None
    angle_deg: float = 0.0
    size_px: tuple[int, int] | None = None
    is_of_other_size: bool = False

    def __post_init__(self) -> None:
        if self.mm_per_px is not None and not 0.0 < self.mm_per_px < math.inf:
            raise ValueError(f"expected mm_per_px above 0, but got {self.mm_per_px}")
        if not 0.0 <= self.mm_per_px_uncertainty < (self.mm_per_px or math.inf):
            raise ValueError(
                f"expected an uncertainty of mm_per_px that is not negative and below mm_per_px ({self.mm_per_px}), "
                f"but got {self.mm_per_px_uncertainty}"
            )

    def of_picture(self, width: int, height: int) -> PartView:
        """What is known of a picture of this size in pixels: nothing where it has another size than was calibrated."""
        if self.size_px is None or self.size_px == (width, height):
            return self
        return replace(self, mm_per_px=None, mm_per_px_uncertainty=0.0, origin_px=None, is_of_other_size=True)

    def scales(self) -> tuple[float, float, float] | None:
        """The least, the likeliest and the largest number of millimetres a pixel; None where it is not known."""
        if self.mm_per_px is None:
            return None
        return (
            self.mm_per_px - self.mm_per_px_uncertainty,
            self.mm_per_px,
            self.mm_per_px + self.mm_per_px_uncertainty,
        )


UNKNOWN_VIEW = PartView()
"""Of a camera of which nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone(Part):
    """A region of the part: a polygon in part coordinates, whose sides do not cross. x to the right, y down."""

    points: tuple[tuple[float, ...], ...]
    """The corners in their order, each as x and y from the part's origin."""
    unit: str = "mm"
    """`mm` or `px`."""

    def __post_init__(self) -> None:
        if self.unit not in ("mm", "px"):
            raise ValueError(f"expected the unit of a zone as mm or px, but got {self.unit!r}")
        if len(self.points) < 3 or any(len(p) != 2 or not all(map(math.isfinite, p)) for p in self.points):
            raise ValueError(f"expected at least three corners [x, y] of a zone, but got {self.points}")
        if _area(self._corners) == 0.0:
            raise ValueError(f"expected a zone with an area, but its corners lie on one line: {self.points}")

    @property
    def _corners(self) -> tuple[Point, ...]:
        return tuple((x, y) for x, y in self.points)

    def unmeasured(self, view: PartView) -> Unmeasured | None:
        """Why nobody can say on this picture what lies in the zone; None where it can be said."""
        if view.is_of_other_size:
            return Unmeasured.OTHER_SIZE
        if view.origin_px is None:
            return Unmeasured.NO_PART_FRAME
        return Unmeasured.NO_SCALE if self.unit == "mm" and view.mm_per_px is None else None

    def touches(self, box: Box, view: PartView, *, surely: bool) -> bool:
        """Whether a box and the zone have a point in common.

        surely: true only where it is so whatever the true scale is; else true where it may be so. Where nothing is
        known of the view, it may be so, and is not sure.
        """
        if self.unmeasured(view) is not None:
            return not surely
        scales = (1.0,) if self.unit == "px" else view.scales() or ()
        corners = self._corners
        found = (_overlap(_in_part(box, view, scale), corners) for scale in scales)
        return all(found) if surely else any(found)


def gap(a: Box, b: Box) -> float:
    """The distance between the nearest points of two boxes, in pixels; 0 where they touch."""
    ax1, ay1, ax2, ay2 = a.xyxy
    bx1, by1, bx2, by2 = b.xyxy
    return math.hypot(max(0.0, bx1 - ax2, ax1 - bx2), max(0.0, by1 - ay2, ay1 - by2))


def _in_part(box: Box, view: PartView, scale: float) -> tuple[Point, ...]:
    """The corners of a box in part coordinates. scale: units of the part a pixel."""
    assert view.origin_px is not None
    x0, y0 = view.origin_px
    cos, sin = math.cos(math.radians(view.angle_deg)), math.sin(math.radians(view.angle_deg))
    x1, y1, x2, y2 = box.xyxy
    return tuple(
        (((x - x0) * cos + (y - y0) * sin) * scale, ((y - y0) * cos - (x - x0) * sin) * scale)
        for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    )


def _overlap(a: Sequence[Point], b: Sequence[Point]) -> bool:
    """Whether two polygons have a point in common: their sides meet, or one lies inside the other."""
    if any(_meet(p, q, r, s) for p, q in _sides(a) for r, s in _sides(b)):
        return True
    return _inside(a[0], b) or _inside(b[0], a)


def _sides(polygon: Sequence[Point]) -> list[tuple[Point, Point]]:
    return list(pairwise((*polygon, polygon[0])))


def _meet(p: Point, q: Point, r: Point, s: Point) -> bool:
    """Whether the segments pq and rs have a point in common."""
    a, b, c, d = _turn(p, q, r), _turn(p, q, s), _turn(r, s, p), _turn(r, s, q)
    if a * b < 0 and c * d < 0:
        return True
    on_line = ((a, p, q, r), (b, p, q, s), (c, r, s, p), (d, r, s, q))
    return any(turn == 0 and _between(one, other, point) for turn, one, other, point in on_line)


def _turn(p: Point, q: Point, r: Point) -> float:
    return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])


def _between(one: Point, other: Point, point: Point) -> bool:
    """Whether a point on the line of two others lies between them."""
    return all(min(one[i], other[i]) <= point[i] <= max(one[i], other[i]) for i in (0, 1))


def _inside(point: Point, polygon: Sequence[Point]) -> bool:
    """Whether a ray from the point to the right crosses the polygon's sides an odd number of times."""
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in _sides(polygon):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside


def _area(polygon: Sequence[Point]) -> float:
    """Twice the signed area."""
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in _sides(polygon))
