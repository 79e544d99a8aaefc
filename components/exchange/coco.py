"""COCO's detection JSON (https://cocodataset.org/#format-data): `images`, `categories`, `annotations`.

Boxes are x, y, width, height, in pixels. Facts that COCO has no field for are kept under the key `kizu`, of the file
and of each image. Importing an exported file brings them back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from components.exchange.rows import (
    ClassNames,
    ExchangeError,
    RowError,
    SourceRow,
    SourceStatus,
    around,
    moment,
    turned,
    whole_pixels,
)
from components.exchange.selection import Selected
from components.stores.labels.box_rule import Drawn, number
from components.stores.raw_images.set_aside import SetAside
from inspection.codec import canonical_json

_STATUS: Final = {"approved": SourceStatus.APPROVED, "rejected": SourceStatus.REJECTED}


def to_coco(images: Sequence[Selected], classes: Sequence[str], use_case: str, file_name: Mapping[str, str]) -> bytes:
    """Make one COCO file. Categories count from 1, as in COCO's own; file_name: sha256 -> name in `images/`."""
    annotations: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        entries.append(
            {
                "id": image_id,
                "file_name": file_name[image.sha256],
                "width": image.width,
                "height": image.height,
                "date_captured": "",
                "license": 0,
                "kizu": {"sha256": image.sha256, "group": image.group, "status": "approved", "at": image.at},
            }
        )
        for labelled in image.boxes:
            box = labelled.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": classes.index(labelled.class_name) + 1,
                    "bbox": [box.x, box.y, box.width, box.height],
                    "area": box.area,
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    return canonical_json(
        {
            "info": {
                "description": f"labels of the use case {use_case}",
                "version": "1",
                "kizu": {"use_case": use_case},
            },
            "licenses": [],
            "categories": [
                {"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes, start=1)
            ],
            "images": entries,
            "annotations": annotations,
        }
    )


def read_coco(data: bytes, names: ClassNames, dated: datetime) -> Iterator[SourceRow | SetAside]:
    """A row for each image, also for an image without an annotation: it has no boxes. dated: the date of the file.

    Raises:
        ExchangeError: it is not a COCO file.
    """
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise ExchangeError(f"expected a COCO file in JSON, but {e}") from e
    lists = {
        name: whole.get(name) if isinstance(whole, dict) else None for name in ("images", "annotations", "categories")
    }
    missing = [name for name, value in lists.items() if not isinstance(value, list)]
    if missing:
        raise ExchangeError(f"expected a COCO file with images, annotations and categories, but {missing} is no list")
    categories: dict[str, Any] = {
        _key(item.get("id")): item.get("name") for item in lists["categories"] or () if isinstance(item, dict)
    }
    boxes: dict[str, list[Drawn]] = {}
    for annotation in lists["annotations"] or ():
        if isinstance(annotation, dict):
            category = annotation.get("category_id")
            drawn = _drawn(annotation, names.find(category, categories.get(_key(category), "")))
            boxes.setdefault(_key(annotation.get("image_id")), []).append(drawn)
    entries = list(lists["images"] or ())
    ids = Counter(_key(item.get("id")) for item in entries if isinstance(item, dict))
    by_name: dict[str, list[Drawn]] = {}  # a tool may list a picture twice, with some of its boxes each time
    for item in entries:
        if isinstance(item, dict) and isinstance(item.get("file_name"), str) and ids[_key(item.get("id"))] == 1:
            by_name.setdefault(item["file_name"], []).extend(boxes.pop(_key(item.get("id")), ()))
    for position, item in enumerate(entries, start=1):
        name = ""
        try:
            if not isinstance(item, dict) or not isinstance(item.get("file_name"), str) or not item["file_name"]:
                raise RowError("no-image", f"expected an image with a file_name, but got {str(item)[:60]!r}")
            name = item["file_name"]
            key = _key(item.get("id"))
            if ids[key] > 1:
                raise RowError(
                    "contradiction", f"expected ids that differ, but {ids[key]} images have the id {key[:40]}"
                )
            yield _row(position, item, tuple(by_name.get(name, ())), dated)
        except RowError as e:
            yield SetAside(name, e.reason, str(e), position)
    for key, lost in boxes.items():
        if key not in ids:
            yield SetAside("", "no-image", f"{len(lost)} annotations are of the image {key[:40]}, which is not there")


def _row(position: int, item: Mapping[str, Any], boxes: tuple[Drawn, ...], dated: datetime) -> SourceRow:
    ours = item.get("kizu")
    ours = ours if isinstance(ours, Mapping) else {}
    said = str(ours.get("status") or "")[:100]
    group = ours.get("group")
    return SourceRow(
        line=position,
        image=item["file_name"],
        boxes=boxes,
        status=_STATUS.get(said, SourceStatus.LABELLED) if said else SourceStatus.UNSAID,
        said=said,
        at=moment(ours["at"], "the time") if ours.get("at") else dated,
        at_said=bool(ours.get("at")),
        width=_side(item, "width"),
        height=_side(item, "height"),
        group=group[:200] if isinstance(group, str) and group and group != ours.get("sha256") else None,
    )


def _side(item: Mapping[str, Any], name: str) -> int | None:
    """A side in pixels; None where the file does not say it, and the picture's own counts."""
    return None if item.get(name) is None else whole_pixels(item[name], f"the {name}")


def _drawn(annotation: Mapping[str, Any], class_name: str | None) -> Drawn:
    """The box of an annotation; where there is a polygon or a mask only, the box around it.

    CVAT writes a turned box as the box before the turn, and `rotation` in degrees clockwise about its middle.
    """
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        outline = bounds(annotation.get("segmentation"))
        return Drawn(None, is_rectangle=False) if outline is None else replace(outline, class_name=class_name)
    attributes = annotation.get("attributes")
    turn = attributes.get("rotation", 0.0) if isinstance(attributes, Mapping) else 0.0
    x, y, width, height = box
    if number(turn) == 0.0:
        return Drawn(class_name, x, y, width, height, is_outline=annotation.get("iscrowd") == 1)
    return turned(class_name, x, y, width, height, turn)


def bounds(segmentation: Any) -> Drawn | None:
    """The box around polygons (lists of x, y) or around an uncompressed mask (runs down the columns)."""
    if isinstance(segmentation, Mapping):
        return _mask_bounds(segmentation.get("counts"), segmentation.get("size"))
    if not isinstance(segmentation, list) or not segmentation:
        return None
    if not all(isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in segmentation):
        return None
    return around([point for polygon in segmentation for point in zip(polygon[::2], polygon[1::2], strict=True)])


def _mask_bounds(counts: Any, size: Any) -> Drawn | None:
    if not isinstance(counts, list) or not isinstance(size, list) or not size or not isinstance(size[0], int):
        return None  # a compressed mask comes with a bbox
    height = size[0]
    if height <= 0 or not all(isinstance(count, int) and count >= 0 for count in counts):
        return None
    at = 0
    spans: list[tuple[int, int]] = []
    for index, count in enumerate(counts):
        if index % 2 and count:
            spans.append((at, at + count - 1))
        at += count
    if not spans:
        return None
    left, right = spans[0][0] // height, spans[-1][1] // height
    whole = any(first // height != last // height for first, last in spans)
    top = 0 if whole else min(first % height for first, _ in spans)
    bottom = height - 1 if whole else max(last % height for _, last in spans)
    return around([(left, top), (right + 1, bottom + 1)])


def _key(value: Any) -> str:
    return json.dumps(value, default=str)[:100]
