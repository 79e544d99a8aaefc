"""CVAT's XML for images (https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/), version 1.1.

Boxes have corners, and `rotation` in degrees clockwise about the middle. Every image of the task is in the file, also
one that nobody has opened: import a task when it is finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from xml.etree.ElementTree import Element

from components.exchange.rows import ClassNames, ExchangeError, RowError, SourceRow, SourceStatus, around, turned
from components.exchange.rows import whole_pixels as pixels
from components.exchange.xml import XmlError, number_of, parse_xml
from components.stores.labels.box_rule import Drawn
from components.stores.raw_images.set_aside import SetAside

_CORNERS: Final = ("xtl", "ytl", "xbr", "ybr")
_SIDES: Final = ("left", "top", "width", "height")
_NO_PLACE: Final = ("tag", "attribute")  # they speak of the whole image


def read_cvat(data: bytes, names: ClassNames, dated: datetime) -> Iterator[SourceRow | SetAside]:
    """A row for each image; one that does not parse is set aside with its position. dated: the date of the file.

    Raises:
        ExchangeError: it is no XML of CVAT, or that of a video.
    """
    try:
        root = parse_xml(data)
    except XmlError as e:
        raise ExchangeError(str(e)) from e
    if root.tag != "annotations":
        raise ExchangeError(f"expected <annotations> of CVAT, but got <{root.tag[:40]}>")
    if root.find("track") is not None:
        raise ExchangeError("expected CVAT for images, but got tracks of a video; export it as 'CVAT for images 1.1'")
    for position, image in enumerate(root.iter("image"), start=1):
        name = image.get("name") or ""
        try:
            if not name:
                raise RowError("no-image", "expected an image with a name, but it has none")
            yield SourceRow(
                line=position,
                image=name,
                boxes=tuple(_drawn(item, names) for item in image if item.tag not in _NO_PLACE),
                status=SourceStatus.UNSAID,
                at=dated,
                at_said=False,
                width=pixels(image.get("width"), "the width"),
                height=pixels(image.get("height"), "the height"),
            )
        except RowError as e:
            yield SetAside(name, e.reason, str(e), position)


def _drawn(item: Element, names: ClassNames) -> Drawn:
    label = item.get("label")
    name = names.find(label, label or "")
    if item.tag == "box":
        x1, y1, x2, y2 = (number_of(item.get(corner)) for corner in _CORNERS)
        if x1 is None or y1 is None or x2 is None or y2 is None:
            return Drawn(name)
        rotation = number_of(item.get("rotation", "0"))
        box = Drawn(name, x1, y1, x2 - x1, y2 - y1)
        return box if rotation == 0.0 else turned(name, box.x, box.y, box.width, box.height, rotation)
    if item.tag == "mask":
        left, top, width, height = (number_of(item.get(side)) for side in _SIDES)
        return Drawn(name, left, top, width, height, is_outline=True)
    outline = around(_points(item.get("points", ""))) if item.tag == "polygon" else None
    if outline is None:
        return Drawn(None, is_rectangle=False)
    return Drawn(name, outline.x, outline.y, outline.width, outline.height, is_outline=True)


def _points(text: str) -> list[tuple[float | None, float | None]]:
    pairs = (pair.partition(",") for pair in text.split(";"))
    return [(number_of(x), number_of(y)) for x, _, y in pairs]
