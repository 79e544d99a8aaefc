"""The one rule for boxes that people drew or a file brings, each case counted in `Tally`:

| Drawn | Becomes |
|---|---|
| partly outside the picture | clipped to it |
| rotated | the axis-aligned rectangle around it, then clipped |
| inverted (negative width or height) | the same rectangle, written the right way round |
| a polygon or a mask with known bounds | the axis-aligned rectangle around it |
| the same class and place again | kept once |
| wholly outside, or without area (< 0.01 px a side) | left out |
| NaN, infinite, missing or not a number | left out |
| a class that the use case does not have, or not exactly one class | left out |
| anything else but a rectangle | left out |
| drawn on a picture of another size, or on a turned one | left out |

People do not see a box that was left out. So its image is never approved by trust in a source; a person decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inspection.geometry import Box, LabelledBox

MIN_SIDE_PX: Final = 0.01
# Converting to shares and back may pass the border by a rounding error, which does not count as clipping.
_SLACK_PX: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Tally:
    """How many boxes were changed or left out, by reason."""

    clipped: int = 0
    rotated: int = 0
    inverted: int = 0
    outlined: int = 0
    repeated: int = 0
    outside: int = 0
    no_area: int = 0
    not_a_number: int = 0
    unknown_class: int = 0
    not_a_rectangle: int = 0
    other_picture: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})

    def counts(self) -> dict[str, int]:
        """Reason -> number of boxes, for the reasons that occurred."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}

    @property
    def left_out(self) -> int:
        """How many boxes were left out; all others were changed and kept."""
        unusable = self.unknown_class + self.not_a_rectangle + self.other_picture
        return self.outside + self.no_area + self.not_a_number + unusable


@dataclass(frozen=True, slots=True)
class Converted:
    """Boxes in pixels of the image, and how many were changed or left out."""

    boxes: tuple[LabelledBox, ...]
    tally: Tally


@dataclass(frozen=True, slots=True)
class Drawn:
    """A rectangle as it came, unchecked. class_name: None where it has none, several or an unknown one.

    x, y, width, height: pixels, from the top-left corner, after EXIF orientation; anything, None for what is missing.
    rotation: degrees clockwise about (x, y). is_rectangle: False for a polygon, a mask, or what has no such form.
    is_outline: whether it is the rectangle around a polygon or a mask. other_picture: whether it was drawn on a picture
    of another size than this one, or on a turned one.
    """

    class_name: str | None
    x: Any = None
    y: Any = None
    width: Any = None
    height: Any = None
    rotation: Any = 0.0
    is_rectangle: bool = True
    is_outline: bool = False
    other_picture: bool = False


def apply_rule(drawn: Iterable[Drawn], classes: Sequence[str], width: int, height: int) -> Converted:
    """All rectangles of one picture of `width` x `height` pixels, by the rule above. Never raises."""
    boxes: list[LabelledBox] = []
    seen: set[tuple[object, ...]] = set()
    tally = Tally()
    for item in drawn:
        labelled, note = _one(item, classes, width, height)
        if labelled is not None:
            box = labelled.box
            place = (labelled.class_name, *(round(value, 2) for value in (box.x, box.y, box.width, box.height)))
            if place in seen:
                tally += Tally(repeated=1)
                continue
            seen.add(place)
            boxes.append(labelled)
        tally += note
    return Converted(tuple(boxes), tally)


def number(value: Any) -> float | None:
    """A finite number as a float; None for anything else, True and '1' included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def _one(drawn: Drawn, classes: Sequence[str], width: int, height: int) -> tuple[LabelledBox | None, Tally]:
    if drawn.other_picture:
        return None, Tally(other_picture=1)
    if not drawn.is_rectangle:
        return None, Tally(not_a_rectangle=1)
    if drawn.class_name is None or drawn.class_name not in classes:
        return None, Tally(unknown_class=1)
    numbers = [number(value) for value in (drawn.x, drawn.y, drawn.width, drawn.height, drawn.rotation)]
    if any(value is None for value in numbers):
        return None, Tally(not_a_number=1)
    x, y, w, h, rotation = (value for value in numbers if value is not None)
    tally = Tally(inverted=int(w < 0 or h < 0), outlined=int(drawn.is_outline))
    x1, y1, x2, y2 = _corners(x, y, w, h, rotation)
    if not all(math.isfinite(value) for value in (x1, y1, x2, y2, x2 - x1, y2 - y1)):
        return None, Tally(not_a_number=1)
    if rotation % 360.0 != 0.0:
        tally += Tally(rotated=1)
    if x2 - x1 < MIN_SIDE_PX or y2 - y1 < MIN_SIDE_PX:
        return None, Tally(no_area=1)
    # without rotation the side stays as it was drawn, because x2 - x1 would lose its last digits
    whole = Box(x, y, w, h) if w > 0 and h > 0 and rotation % 360.0 == 0.0 else Box.from_xyxy(x1, y1, x2, y2)
    inside = whole.clipped(width, height)
    if inside is None or inside.width < MIN_SIDE_PX or inside.height < MIN_SIDE_PX:
        return None, Tally(outside=1)
    if x1 < -_SLACK_PX or y1 < -_SLACK_PX or x2 > width + _SLACK_PX or y2 > height + _SLACK_PX:
        return LabelledBox(drawn.class_name, inside), tally + Tally(clipped=1)
    within = x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
    return LabelledBox(drawn.class_name, whole if within else inside), tally


def _corners(x: float, y: float, w: float, h: float, degrees: float) -> tuple[float, float, float, float]:
    """The axis-aligned rectangle around a rectangle turned clockwise (y points down) about its corner (x, y)."""
    turn = math.radians(degrees % 360.0)
    cos, sin = math.cos(turn), math.sin(turn)
    xs = [x + dx * cos - dy * sin for dx, dy in ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))]
    ys = [y + dx * sin + dy * cos for dx, dy in ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))]
    return min(xs), min(ys), max(xs), max(ys)
