"""Reads XML of others without what makes XML dangerous.

A document type that declares entities is refused, because entities can read files or grow to gigabytes. Sizes and depth
are limited. expat itself never fetches anything.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, TreeBuilder  # builds elements only; the parser below is ours
from xml.parsers import expat

MAX_BYTES: Final = 100_000_000
_MAX_DEPTH: Final = 100


class XmlError(ValueError):
    """The text is no XML that is read here."""


def parse_xml(data: bytes) -> Element:
    """The root element.

    Raises:
        XmlError: it is malformed, declares an entity, is nested too deeply, or is too large.
    """
    if len(data) > MAX_BYTES:
        raise XmlError(f"expected at most {MAX_BYTES} bytes of XML, but got {len(data)}")
    parser = expat.ParserCreate()
    builder = TreeBuilder()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise XmlError(f"expected XML of at most {_MAX_DEPTH} levels (line {parser.CurrentLineNumber})")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def entity(name: str, *_: object) -> None:
        raise XmlError(f"expected XML without entities, but it declares {name!r} (line {parser.CurrentLineNumber})")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError as e:
        raise XmlError(f"expected XML, but {e}") from e
    except (ValueError, LookupError) as e:  # an unknown encoding
        raise e if isinstance(e, XmlError) else XmlError(f"expected XML, but {e}") from e
    return builder.close()


def text_of(element: Element, path: str) -> str | None:
    """The text of the element at a path, without spaces around it; None if it is missing or empty."""
    return (element.findtext(path) or "").strip() or None


def number_of(text: str | None) -> float | None:
    """A number as text in XML; None for anything else. Whether it is finite is for the rule of boxes."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
