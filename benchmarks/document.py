"""Write results between two marks of a document, so that a run replaces what the last run wrote."""

from __future__ import annotations

from pathlib import Path


def write_between(document: Path, begin: str, end: str, content: str) -> None:
    """Put `content` between the lines `begin` and `end` of `document`.

    Raises:
        ValueError: the marks are not there.
    """
    text = document.read_text(encoding="utf-8")
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"expected the lines {begin!r} and {end!r} in {document}; put them where the tables belong")
    document.write_text(f"{before}{begin}\n\n{content}\n{end}{after}", encoding="utf-8")
