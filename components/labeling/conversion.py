"""Convert between pixels and Label Studio's percent.

Label Studio keeps `x, y, width, height` in percent (0..100) of the picture's width and height, after EXIF
orientation, and `rotation` in degrees clockwise around the top-left corner of the unrotated rectangle
(https://labelstud.io/guide/task_format, "Image annotation units").

What people draw becomes boxes by the rule of `components/stores/labels/box_rule.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from components.stores.labels.box_rule import Converted, Drawn, Tally, apply_rule, number
from inspection.geometry import Detection, LabelledBox

__all__ = [
    "BOXES",
    "IMAGE",
    "Converted",
    "Tally",
    "from_regions",
    "other_picture",
    "same_boxes",
    "to_region",
    "to_regions",
    "to_suggested_regions",
]

BOXES: Final = "boxes"
IMAGE: Final = "image"
# A browser converts the boxes that it shows to pixels of the screen and back.
_SAME_PX: Final = 0.5


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
    """A model's detections as regions, each with its score."""
    return [
        {**to_region(LabelledBox(found.class_name, found.box), width, height, region_id=f"box-{index}")}
        | {"score": round(found.score, 4)}
        for index, found in enumerate(detections, start=1)
    ]


def from_regions(result: Iterable[Any], classes: Sequence[str], width: int, height: int) -> Converted:
    """A person's regions as boxes in pixels, by the rule of `stores/labels/box_rule.py`. Never raises for bad regions.

    A region of a picture of another size, or of one that the labeler turned, is left out: its percent would fall on
    other pixels of the image. Label Studio says the size and the turn of the picture that it showed with each region.

    Args:
        result: the `result` of an annotation; regions that belong to other controls are left out and counted.
        classes: the classes of the use case.
        width: pixels of the picture after EXIF orientation.
        height: as width.
    """
    return apply_rule((_drawn(region, width, height) for region in result), classes, width, height)


def other_picture(result: Iterable[Any], width: int, height: int) -> bool:
    """Whether one of a person's regions was drawn on a picture of another size, or on a turned one.

    What such a person submits does not count, with or without the region. A region that does not say it is believed.
    """
    return any(isinstance(region, Mapping) and _is_of_another_picture(region, width, height) for region in result)


def same_boxes(first: Sequence[LabelledBox], second: Sequence[LabelledBox]) -> bool:
    """Whether both are the same boxes in any order: same class, and no side more than `_SAME_PX` away."""
    left = list(second)
    for one in first:
        found = next((other for other in left if _is_same(one, other)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _is_same(one: LabelledBox, other: LabelledBox) -> bool:
    sides = zip(one.box.xyxy, other.box.xyxy, strict=True)
    return one.class_name == other.class_name and all(abs(a - b) <= _SAME_PX for a, b in sides)


def _drawn(region: Any, width: int, height: int) -> Drawn:
    value = region.get("value") if isinstance(region, Mapping) else None
    if not isinstance(region, Mapping) or not isinstance(value, Mapping) or region.get("type") != "rectanglelabels":
        return Drawn(None, is_rectangle=False)
    names = value.get("rectanglelabels")
    name = names[0] if isinstance(names, list) and len(names) == 1 else None

    def pixels(name: str, side: int) -> float | None:
        percent = number(value.get(name))
        # percent times side first, then / 100: the inverse of to_region to the last bit but one
        return None if percent is None else percent * side / 100.0

    return Drawn(
        name if isinstance(name, str) else None,
        pixels("x", width),
        pixels("y", height),
        pixels("width", width),
        pixels("height", height),
        value.get("rotation", 0),
        other_picture=_is_of_another_picture(region, width, height),
    )


def _is_of_another_picture(region: Mapping[str, Any], width: int, height: int) -> bool:
    shown = (region.get("original_width"), region.get("original_height"))
    turned = number(region.get("image_rotation", 0) or 0)
    return (
        turned is None
        or turned % 360 != 0
        or any(said is not None and said != side for said, side in zip(shown, (width, height), strict=True))
    )
