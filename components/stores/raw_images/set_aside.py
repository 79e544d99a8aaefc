"""Images and rows that were not imported, and why: they are counted, and listed in a file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.stores.objects.whole_file import write_whole

_COLUMNS: Final = ("line", "image", "reason", "message")
_MAX_TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class SetAside:
    """An image or a row that was not imported. reason: a fixed word for counting; line: of the file, from 1."""

    image: str
    reason: str
    message: str
    line: int | None = None


def by_reason(items: Iterable[SetAside]) -> Counter[str]:
    """How many were set aside for which reason."""
    return Counter(item.reason for item in items)


def write_listing(path: Path, items: Sequence[SetAside]) -> None:
    """Write a table (CSV, UTF-8) of what was set aside, in one step. It replaces the listing of an earlier import."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for item in items:
        line = "" if item.line is None else str(item.line)
        writer.writerow([line, _plain(item.image), _plain(item.reason), _plain(item.message)])
    write_whole(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _plain(text: str) -> str:
    """One line of text that a spreadsheet does not take for a formula, because file names are foreign text."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_TEXT]
    return f"'{one_line}" if one_line[:1] in ("=", "+", "-", "@") else one_line
