"""A table of boxes: CSV with the columns image, class, x1, y1, x2, y2, one line for each box.

The corners are in pixels of the picture after EXIF orientation, x2 and y2 those of the lower right one. A line with an
image alone says that it shows nothing to mark. Further columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from components.exchange.rows import ClassNames, ExchangeError, SourceRow, SourceStatus
from components.exchange.xml import number_of
from components.stores.labels.box_rule import Drawn
from components.stores.raw_images.set_aside import SetAside

COLUMNS: Final = ("image", "class", "x1", "y1", "x2", "y2")
FILE: Final = "boxes.csv"
"""The usual name of such a table beside its images."""


def read_box_table(lines: Iterable[str], names: ClassNames, at: datetime) -> Iterator[SourceRow | SetAside]:
    """A row for each image, in the order in which the images come first; what names no image is set aside.

    A line that cannot be read is kept as a box that the rule for boxes leaves out, so that its image does not count as
    approved.

    Args:
        lines: with their line ends.
        at: when the table was written.

    Raises:
        ExchangeError: columns are missing.
    """
    reader = csv.reader(lines)
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error as e:
        raise ExchangeError(f"expected a line of columns first, but {e}") from e
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ExchangeError(f"expected the columns {', '.join(COLUMNS)}, but {', '.join(missing)} are missing")
    at_image = header.index("image")
    aside: list[SetAside] = []
    boxes: dict[str, list[Drawn]] = {}
    first: dict[str, int] = {}
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as e:
            aside.append(SetAside("", "not-csv", f"expected a row of CSV, but {e}", line))
            continue
        if not cells:
            continue
        image = cells[at_image].strip() if at_image < len(cells) else ""
        if not image:
            aside.append(SetAside("", "no-image", "expected the name of an image, but there is none", line))
            continue
        first.setdefault(image, line)
        drawn = boxes.setdefault(image, [])
        if len(cells) != len(header):
            drawn.append(Drawn(None, is_rectangle=False))
            continue
        row = {column: cell.strip() for column, cell in zip(header, cells, strict=True)}
        if any(row[column] for column in COLUMNS[1:]):
            drawn.append(_drawn(row, names))
    yield from aside
    for image, drawn in boxes.items():
        yield SourceRow(
            line=first[image],
            image=image,
            boxes=tuple(drawn),
            status=SourceStatus.UNSAID,
            at=at,
            at_said=False,
        )


def _drawn(row: dict[str, str], names: ClassNames) -> Drawn:
    name = names.find(row["class"], row["class"])
    x1, y1, x2, y2 = (number_of(row[corner]) for corner in COLUMNS[2:])
    if x1 is None or y1 is None or x2 is None or y2 is None:
        return Drawn(name)
    return Drawn(name, x1, y1, x2 - x1, y2 - y1)
