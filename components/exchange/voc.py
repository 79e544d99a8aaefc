"""Pascal VOC: one XML file for each image (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html).

NEU-DET and LabelImg write this form. `bndbox` has the corners, in pixels. VOC counted pixels from 1 and included the
last one; the tools that write it today do not, so the corners are taken as they stand. A turned box (`robndbox`) has
its middle, sides and angle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from components.exchange.rows import ClassNames, ExchangeError, RowError, SourceRow, SourceStatus, around, turned
from components.exchange.rows import whole_pixels as pixels
from components.exchange.xml import MAX_BYTES, XmlError, number_of, parse_xml, text_of
from components.stores.labels.box_rule import Drawn
from components.stores.raw_images.set_aside import SetAside

_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_TURNED: Final = ("cx", "cy", "w", "h", "angle")


def read_voc(folder: Path, names: ClassNames) -> Iterator[SourceRow | SetAside]:
    """A row for each XML file of the folder and its subfolders; what does not parse is set aside with its file.

    Raises:
        ExchangeError: no such folder, or no XML file in it.
    """
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise ExchangeError(f"expected a folder with XML files of Pascal VOC, but there is none below {folder}")
    for file in files:
        place = file.relative_to(folder).as_posix()
        try:
            yield _row(file, names)
        except (RowError, XmlError, OSError) as e:
            yield SetAside(place, e.reason if isinstance(e, RowError) else "labels", str(e))


def _row(file: Path, names: ClassNames) -> SourceRow:
    status = file.stat()
    if status.st_size > MAX_BYTES:
        raise RowError("labels", f"expected at most {MAX_BYTES} bytes, but got {status.st_size}")
    root = parse_xml(file.read_bytes())
    if root.tag != "annotation":
        raise RowError("labels", f"expected <annotation> of Pascal VOC, but got <{root.tag[:40]}>")
    name = text_of(root, "filename")
    if name is None:
        raise RowError("no-image", "expected <filename> with the name of the image, but it is missing")
    width, height = text_of(root, "size/width"), text_of(root, "size/height")
    return SourceRow(
        line=None,
        image=name,
        boxes=tuple(_drawn(item, names) for item in root.iter("object")),
        status=SourceStatus.UNSAID,
        at=datetime.fromtimestamp(status.st_mtime, UTC),
        at_said=False,
        width=None if width in (None, "0") else pixels(width, "the width"),
        height=None if height in (None, "0") else pixels(height, "the height"),
    )


def _drawn(item: Element, names: ClassNames) -> Drawn:
    said = text_of(item, "name")
    name = names.find(said, said or "")
    box, tilted, polygon = item.find("bndbox"), item.find("robndbox"), item.find("polygon")
    if box is not None:
        x1, y1, x2, y2 = (number_of(text_of(box, corner)) for corner in _CORNERS)
        if x1 is None or y1 is None or x2 is None or y2 is None:
            return Drawn(name)
        return Drawn(name, x1, y1, x2 - x1, y2 - y1)
    if tilted is not None:
        x, y, width, height, angle = (number_of(text_of(tilted, part)) for part in _TURNED)
        if x is None or y is None or width is None or height is None or angle is None:
            return Drawn(name)
        return turned(name, x - width / 2, y - height / 2, width, height, math.degrees(angle))
    points = [] if polygon is None else list(zip(_numbers(polygon, "x"), _numbers(polygon, "y"), strict=False))
    outline = around(points) if len(points) >= 3 else None
    if outline is None:
        return Drawn(None, is_rectangle=False)
    return Drawn(name, outline.x, outline.y, outline.width, outline.height, is_outline=True)


def _numbers(polygon: Element, axis: str) -> list[float | None]:
    """`<pt><x>` of LabelMe, or `<x1>`, `<x2>` of Roboflow."""
    found = [number_of((item.text or "").strip()) for item in polygon.iter(axis)]
    return found or [number_of((item.text or "").strip()) for item in polygon if item.tag[:1] == axis]
