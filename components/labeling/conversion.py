"""Between pixels and Label Studio's percent.

Label Studio keeps `x, y, width, height` in percent (0..100) of the picture's width and height, after EXIF
orientation, and `rotation` in degrees clockwise around the top-left corner of the unrotated rectangle
(https://labelstud.io/guide/task_format, "Image annotation units").

The one rule for what people draw, each case counted in `Tally`:

| Drawn | Becomes |
|---|---|
| partly outside the picture | clipped to it |
| rotated | the axis-aligned rectangle around it, then clipped |
| inverted (negative width or height) | the same rectangle, written the right way round |
| wholly outside, or without area (< 0.01 px a side) | left out |
| NaN, infinite, missing or not a number | left out |
| a class that the use case does not have, or not exactly one class | left out |
| anything but a rectangle | left out |

A box that is left out is missing from what the verifier sees, so a second person decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inspection.geometry import Box, Detection, LabelledBox

BOXES: Final = "boxes"
IMAGE: Final = "image"
MIN_SIDE_PX: Final = 0.01


@dataclass(frozen=True, slots=True)
class Tally:
    """How many boxes were changed or left out, by reason."""

    clipped: int = 0
    rotated: int = 0
    inverted: int = 0
    outside: int = 0
    no_area: int = 0
    not_a_number: int = 0
    unknown_class: int = 0
    not_a_rectangle: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})

    def counts(self) -> dict[str, int]:
        """Only what happened: reason -> number of boxes."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}


@dataclass(frozen=True, slots=True)
class Converted:
    """Boxes in pixels of the picture, and what was changed or left out on the way."""

    boxes: tuple[LabelledBox, ...]
    tally: Tally


def to_region(
    labelled: LabelledBox, width: int, height: int, *, region_id: str, read_only: bool = False
) -> dict[str, Any]:
    """One box as a Label Studio region. width, height: pixels of the picture after EXIF orientation."""
    box = labelled.box
    return {
        "id": region_id,
        "type": "rectanglelabels",
        "from_name": BOXES,
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "readonly": read_only,
        "value": {
            "x": box.x * 100.0 / width,
            "y": box.y * 100.0 / height,
            "width": box.width * 100.0 / width,
            "height": box.height * 100.0 / height,
            "rotation": 0,
            "rectanglelabels": [labelled.class_name],
        },
    }


def to_regions(
    boxes: Iterable[LabelledBox], width: int, height: int, *, read_only: bool = False
) -> list[dict[str, Any]]:
    """Boxes as regions with ids that are unique within the task."""
    return [
        to_region(box, width, height, region_id=f"box-{index}", read_only=read_only)
        for index, box in enumerate(boxes, start=1)
    ]


def to_suggested_regions(detections: Iterable[Detection], width: int, height: int) -> list[dict[str, Any]]:
    """What a model found as regions, each with its score."""
    return [
        {**to_region(LabelledBox(found.class_name, found.box), width, height, region_id=f"box-{index}")}
        | {"score": round(found.score, 4)}
        for index, found in enumerate(detections, start=1)
    ]


def from_regions(result: Iterable[Any], classes: Sequence[str], width: int, height: int) -> Converted:
    """A person's regions as boxes in pixels, by the rule at the head of this module. Never raises for bad regions.

    Args:
        result: the `result` of an annotation; regions that belong to other controls are left out and counted.
        classes: the classes of the use case.
        width: pixels of the picture after EXIF orientation.
        height: as width.
    """
    boxes: list[LabelledBox] = []
    tally = Tally()
    for region in result:
        labelled, note = _from_region(region, classes, width, height)
        tally += note
        if labelled is not None:
            boxes.append(labelled)
    return Converted(tuple(boxes), tally)


def _from_region(region: Any, classes: Sequence[str], width: int, height: int) -> tuple[LabelledBox | None, Tally]:
    value = region.get("value") if isinstance(region, Mapping) else None
    if not isinstance(region, Mapping) or not isinstance(value, Mapping) or region.get("type") != "rectanglelabels":
        return None, Tally(not_a_rectangle=1)
    names = value.get("rectanglelabels")
    if not isinstance(names, list) or len(names) != 1 or names[0] not in classes:
        return None, Tally(unknown_class=1)
    numbers = [_number(value.get(name)) for name in ("x", "y", "width", "height")] + [_number(value.get("rotation", 0))]
    if any(number is None for number in numbers):
        return None, Tally(not_a_number=1)
    x, y, w, h, rotation = (number for number in numbers if number is not None)
    # percent times side first, then / 100: the inverse of to_region to the last bit but one
    x, w = x * width / 100.0, w * width / 100.0
    y, h = y * height / 100.0, h * height / 100.0
    tally = Tally()
    if w < 0 or h < 0:
        tally += Tally(inverted=1)
    x1, y1, x2, y2 = _corners(x, y, w, h, rotation)
    if rotation % 360.0 != 0.0:
        tally += Tally(rotated=1)
    if x2 - x1 < MIN_SIDE_PX or y2 - y1 < MIN_SIDE_PX:
        return None, Tally(no_area=1)
    # without rotation the side is kept as it was drawn: x2 - x1 would lose its last digits
    whole = Box(x, y, w, h) if w > 0 and h > 0 and rotation % 360.0 == 0.0 else Box.from_xyxy(x1, y1, x2, y2)
    inside = whole.clipped(width, height)
    if inside is None or inside.width < MIN_SIDE_PX or inside.height < MIN_SIDE_PX:
        return None, Tally(outside=1)
    slack = 1e-6  # percent and back may overshoot the border by a rounding error; that is no clipping
    if x1 < -slack or y1 < -slack or x2 > width + slack or y2 > height + slack:
        return LabelledBox(names[0], inside), tally + Tally(clipped=1)
    within = x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
    return LabelledBox(names[0], whole if within else inside), tally


def _corners(x: float, y: float, w: float, h: float, degrees: float) -> tuple[float, float, float, float]:
    """The axis-aligned rectangle around a rectangle turned clockwise (y points down) about its corner (x, y)."""
    turn = math.radians(degrees % 360.0)
    cos, sin = math.cos(turn), math.sin(turn)
    xs = [x + dx * cos - dy * sin for dx, dy in ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))]
    ys = [y + dx * sin + dy * cos for dx, dy in ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))]
    return min(xs), min(ys), max(xs), max(ys)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
