"""A Feature Store group of labels, exported as CSV: the form of the public AWS sample.

Columns: source_ref, image_width, image_height, annotations (a Python or JSON list of class_id, left, top, width,
height, in pixels), event_time (seconds since 1970, or ISO 8601), status, and optionally labeling_job and is_deleted
(of an Athena export). A `class_id` is the place of the class in the use case unless it was renamed: the
export does not name classes.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from components.exchange.rows import (
    ClassNames,
    ExchangeError,
    RowError,
    SourceRow,
    SourceStatus,
    corner_box,
    moment,
    whole_pixels,
)
from components.stores.raw_images.set_aside import SetAside

COLUMNS: Final = ("source_ref", "image_width", "image_height", "annotations", "event_time", "status")
MAX_FIELD: Final = 1_000_000
_STATUS: Final = {"APPROVED": SourceStatus.APPROVED, "REJECTED": SourceStatus.REJECTED}


def read_feature_store(lines: Iterable[str], names: ClassNames) -> Iterator[SourceRow | SetAside]:
    """Read the rows of an export, and set aside those that do not parse, in order. lines: with their line ends.

    Raises:
        ExchangeError: columns are missing.
    """
    limit = csv.field_size_limit(MAX_FIELD)
    try:
        yield from _rows(lines, names)
    finally:
        csv.field_size_limit(limit)


def _rows(lines: Iterable[str], names: ClassNames) -> Iterator[SourceRow | SetAside]:
    reader = csv.reader(lines)
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error as e:
        raise ExchangeError(f"expected a line of columns first, but {e}") from e
    missing = sorted(set(COLUMNS) - set(header))
    if missing:
        raise ExchangeError(f"expected the columns {', '.join(COLUMNS)}, but {', '.join(missing)} are missing")
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            yield SetAside("", "not-csv", f"expected a row of CSV, but {e}", line)
            continue
        if not cells:
            continue
        image = ""
        try:
            if len(cells) != len(header):
                raise RowError("columns", f"expected {len(header)} columns, but got {len(cells)}")
            row = dict(zip(header, cells, strict=True))
            image = row["source_ref"]
            yield _row(line, row, names)
        except RowError as e:
            yield SetAside(image, e.reason, str(e), line)


def _row(line: int, row: Mapping[str, str], names: ClassNames) -> SourceRow:
    if not row["source_ref"].strip():
        raise RowError("no-image", "expected the address of an image in source_ref, but it is empty")
    status = _STATUS.get(row["status"].strip().upper(), SourceStatus.LABELLED)
    if row.get("is_deleted", "").strip().lower() == "true":
        status = SourceStatus.DELETED
    annotations = _annotations(row["annotations"])
    return SourceRow(
        line=line,
        image=row["source_ref"],
        boxes=tuple(corner_box(item, _class_of(item, names)) for item in annotations),
        status=status,
        said=row["status"].strip()[:100],
        at=moment(row["event_time"], "event_time"),
        job=row.get("labeling_job", "").strip(),
        width=whole_pixels(row["image_width"], "image_width"),
        height=whole_pixels(row["image_height"], "image_height"),
    )


def _class_of(item: Any, names: ClassNames) -> str | None:
    return names.find(item.get("class_id")) if isinstance(item, Mapping) else None


def _annotations(text: str) -> list[Any]:
    try:
        try:
            found = json.loads(text)
        except ValueError:
            found = ast.literal_eval(text.strip())  # reads literals only, and runs nothing in the text
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as e:
        raise RowError("annotations", f"expected a list of boxes, but got {text[:60]!r}") from e
    if not isinstance(found, list):
        raise RowError("annotations", f"expected a list of boxes, but got {text[:60]!r}")
    return found
