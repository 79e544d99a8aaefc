"""COCO's detection JSON (https://cocodataset.org/#format-data): `images`, `categories`, `annotations`.

Boxes are x, y, width, height, in pixels. Facts that COCO has no field for are kept under the key `kizu`, of the file
and of each image. Importing an exported file brings them back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from components.exchange.rows import ClassNames, ExchangeError, RowError, SourceRow, SourceStatus, moment, whole_pixels
from components.exchange.selection import Selected
from components.stores.labels.box_rule import Drawn
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
    categories = {
        _key(item.get("id")): item.get("name") for item in lists["categories"] or () if isinstance(item, dict)
    }
    boxes: dict[str, list[Drawn]] = {}
    for annotation in lists["annotations"] or ():
        if isinstance(annotation, dict):
            category = annotation.get("category_id")
            drawn = _drawn(annotation, names.find(category, categories.get(_key(category), "")))
            boxes.setdefault(_key(annotation.get("image_id")), []).append(drawn)
    ids = Counter(_key(item.get("id")) for item in lists["images"] or () if isinstance(item, dict))
    for position, item in enumerate(lists["images"] or (), start=1):
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
            yield _row(position, item, tuple(boxes.pop(key, ())), dated)
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
        width=whole_pixels(item.get("width"), "the width"),
        height=whole_pixels(item.get("height"), "the height"),
        group=group[:200] if isinstance(group, str) and group and group != ours.get("sha256") else None,
    )


def _drawn(annotation: Mapping[str, Any], class_name: str | None) -> Drawn:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or annotation.get("iscrowd") == 1:
        return Drawn(None, is_rectangle=False)
    return Drawn(class_name, *box)


def _key(value: Any) -> str:
    return json.dumps(value, default=str)[:100]
