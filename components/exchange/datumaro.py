"""Datumaro's JSON (https://open-edge-platform.github.io/datumaro/stable/docs/data-formats/formats/datumaro.html).

`items` have an id, a path and a size (height, width); `categories.label.labels` names the classes by their place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from components.exchange.coco import bounds
from components.exchange.rows import ClassNames, ExchangeError, RowError, SourceRow, SourceStatus, around, turned
from components.exchange.rows import whole_pixels as pixels
from components.stores.labels.box_rule import Drawn, number
from components.stores.raw_images.set_aside import SetAside


def read_datumaro(data: bytes, names: ClassNames, dated: datetime) -> Iterator[SourceRow | SetAside]:
    """A row for each item; one that does not parse is set aside with its position. dated: the date of the file.

    Raises:
        ExchangeError: it is no JSON of Datumaro.
    """
    try:
        whole = json.loads(data)
        items = whole["items"]
        labels = whole["categories"].get("label", {}).get("labels", [])
        known = [label["name"] for label in labels]
        if not isinstance(items, list):
            raise TypeError("items is no list")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as e:
        raise ExchangeError(f"expected JSON of Datumaro with categories and items, but {e!r}") from e
    for position, item in enumerate(items, start=1):
        name = ""
        try:
            name = _name(item)
            yield _row(position, name, item, known, names, dated)
        except RowError as e:
            yield SetAside(name, e.reason, str(e), position)


def _name(item: Any) -> str:
    media = _media(item)
    for said in (media.get("path"), item.get("id") if isinstance(item, Mapping) else None):
        if isinstance(said, str) and said:
            return said
    raise RowError("no-image", f"expected an item with a path or an id, but got {str(item)[:60]!r}")


def _media(item: Any) -> Mapping[str, Any]:
    for key in ("image", "media"):
        media = item.get(key) if isinstance(item, Mapping) else None
        if isinstance(media, Mapping):
            return media
    return {}


def _row(
    position: int, image: str, item: Mapping[str, Any], known: list[Any], names: ClassNames, dated: datetime
) -> SourceRow:
    annotations = item.get("annotations")
    if not isinstance(annotations, list):
        raise RowError("no-boxes", f"expected a list of annotations, but got {str(annotations)[:60]!r}")
    size = _media(item).get("size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (None, None)
    places = [one for one in annotations if not isinstance(one, Mapping) or one.get("type") not in ("label", "caption")]
    return SourceRow(
        line=position,
        image=image,
        boxes=tuple(_drawn(one, known, names) for one in places),
        status=SourceStatus.UNSAID,
        at=dated,
        at_said=False,
        width=None if width is None else pixels(width, "the width"),
        height=None if height is None else pixels(height, "the height"),
    )


def _drawn(one: Any, known: list[Any], names: ClassNames) -> Drawn:
    if not isinstance(one, Mapping):
        return Drawn(None, is_rectangle=False)
    index = one.get("label_id")
    place = index if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(known) else None
    name = names.find(index, "" if place is None else known[place])
    box = one.get("bbox")
    if one.get("type") == "bbox" and isinstance(box, list) and len(box) == 4:
        x, y, width, height = box
        attributes = one.get("attributes")
        turn = attributes.get("rotation", 0.0) if isinstance(attributes, Mapping) else 0.0
        return Drawn(name, x, y, width, height) if number(turn) == 0.0 else turned(name, x, y, width, height, turn)
    outline = None
    points = one.get("points")
    if one.get("type") == "polygon" and isinstance(points, list) and len(points) >= 6 and len(points) % 2 == 0:
        outline = around(list(zip(points[::2], points[1::2], strict=True)))
    elif one.get("type") == "mask":
        outline = bounds(one.get("rle"))
    return Drawn(None, is_rectangle=False) if outline is None else replace(outline, class_name=name)
