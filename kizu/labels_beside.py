"""Labels that lie beside the photographs of a new product, in one of the forms that `kizu import` reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from components.exchange.box_table import COLUMNS as BOX_COLUMNS
from components.exchange.box_table import FILE as BOXES_FILE
from components.exchange.box_table import read_box_table
from components.exchange.coco import read_coco
from components.exchange.feature_store import COLUMNS as FEATURE_STORE_COLUMNS
from components.exchange.feature_store import read_feature_store
from components.exchange.rows import ClassNames, SourceRow, Unit
from components.exchange.voc import read_voc
from components.exchange.yolo import read_yolo
from components.first_look.findings import FoundLabels
from components.stores.labels.box_rule import Drawn, number
from components.stores.raw_images.set_aside import SetAside

_FOLDERS_OF_IMAGES: Final = frozenset({"images", "photographs", "jpegimages"})
_FOLDERS_OF_XML: Final = ("annotations", "ANNOTATIONS", "Annotations")
_MAX_BYTES: Final = 500_000_000
_COCO_KEYS: Final = frozenset({"images", "annotations", "categories"})


_ReadTable = Callable[[Iterable[str]], Iterator[SourceRow | SetAside]]


class AnyNames(ClassNames):
    """Takes every class of a file of labels under its own name; one that has only a number is `class-<number>`."""

    def __init__(self) -> None:
        super().__init__((), {})

    def find(self, index: Any, name: Any = None) -> str | None:
        """The name as the source says it."""
        if isinstance(name, str) and name.strip():
            return name.strip()
        return None if index is None or isinstance(index, bool) else f"class-{index}"

    def expect_names(self, where: str) -> None:
        """Numbers alone are taken too: nothing is stored here."""


def folder_name(folder: Path) -> str:
    """The name of a folder of photographs; of one called `images`, that of the folder above it."""
    place = folder.resolve()
    return place.parent.name if place.name.lower() in _FOLDERS_OF_IMAGES and place.parent.name else place.name


def labels_beside(folder: Path, width: int, height: int) -> FoundLabels | None:
    """The labels in a folder of photographs, or above one called `images`; None where there are none.

    Args:
        width, height: of a usual photograph, pixels. They count where a file of labels names no size.

    Raises:
        ExchangeError: there is a file of labels that cannot be read.
    """
    for place in (folder, *((folder.resolve().parent,) if folder.name.lower() in _FOLDERS_OF_IMAGES else ())):
        found = _found_in(place)
        if found is not None:
            return _summed(*found, (width, height))
    return None


def _found_in(folder: Path) -> tuple[str, str, Iterator[SourceRow | SetAside]] | None:
    """The name of the file, its kind, and its rows."""
    names = AnyNames()
    tables: tuple[tuple[str, str, tuple[str, ...], _ReadTable], ...] = (
        (BOXES_FILE, "boxes", BOX_COLUMNS, lambda lines: read_box_table(lines, names, datetime.now(UTC))),
        ("labels.csv", "ground-truth", FEATURE_STORE_COLUMNS, lambda lines: read_feature_store(lines, names)),
    )
    for name, kind, columns, read in tables:
        file = folder / name
        if file.is_file() and set(columns) <= set(_header(file)):
            text = file.read_text(encoding="utf-8-sig", errors="replace")
            return name, kind, read(io.StringIO(text, newline=""))
    for file in sorted(folder.glob("*.json")):
        data = _coco(file)
        if data is not None:
            return file.name, "coco", read_coco(data, names, datetime.now(UTC))
    if any((folder / "labels").rglob("*.txt")):
        return "labels/", "yolo", read_yolo(folder, names)
    for name in _FOLDERS_OF_XML:
        if any((folder / name).glob("*.xml")):
            return f"{name}/", "voc", read_voc(folder / name, names)
    return None


def _header(file: Path) -> list[str]:
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        return [column.strip() for column in next(csv.reader([stream.readline(100_000)]), [])]


def _coco(file: Path) -> bytes | None:
    """The bytes of a COCO file; None for any other JSON."""
    if file.stat().st_size > _MAX_BYTES:
        return None
    data = file.read_bytes()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(value, dict) and value.keys() >= _COCO_KEYS else None


def _summed(file: str, kind: str, rows: Iterable[SourceRow | SetAside], usual: tuple[int, int]) -> FoundLabels | None:
    classes: set[str] = set()
    sides: list[float] = []
    defective = good = 0
    for row in rows:
        if isinstance(row, SetAside):
            continue
        size = (row.width or usual[0], row.height or usual[1])
        classes |= {drawn.class_name for drawn in row.boxes if drawn.class_name}
        sides += [side for drawn in row.boxes if (side := _side(drawn, row.unit, size)) is not None]
        defective, good = defective + bool(row.boxes), good + (not row.boxes)
    if not defective and not good:
        return None
    return FoundLabels(file, kind, tuple(sorted(classes)), defective, good, tuple(sorted(sides)))


def _side(drawn: Drawn, unit: Unit, size: tuple[int, int]) -> float | None:
    """The longer side of a box as a share of the longer side of its picture."""
    width, height = number(drawn.width), number(drawn.height)
    if width is None or height is None:
        return None
    if unit is Unit.SHARES:
        width, height = width * size[0], height * size[1]
    side = max(abs(width), abs(height)) / max(size)
    return side if 0.0 < side <= 1.0 else None
