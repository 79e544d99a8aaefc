"""What comes from outside beside an image: part ids, trigger ids and names. Every source checks them with these rules.

The text goes into the index, into JSON, into file names and onto a page, so that one bad character could stop the
line. What breaks a rule is refused; it is never shortened, because a shortened part id names another part.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

MAX_TEXT: Final = 200
MAX_JSON_BYTES: Final = 16_384
MAX_JSON_DEPTH: Final = 8
_SHOWN: Final = 60
_NO_TEXT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, halves of surrogate pairs, separators of lines and paragraphs."""


class MetadataError(ValueError):
    """Metadata from outside that breaks a rule. The message says what was expected and what came, in plain ASCII."""


def read_metadata(data: bytes) -> Mapping[str, Any]:
    """Read a small JSON object from outside.

    Args:
        data: UTF-8. Empty or blank stands for an object without keys.

    Raises:
        MetadataError: more than `MAX_JSON_BYTES` bytes, no JSON object, nested deeper than `MAX_JSON_DEPTH`, or with a
            number that is not finite.
    """
    if len(data) > MAX_JSON_BYTES:
        raise MetadataError(f"expected at most {MAX_JSON_BYTES} bytes of JSON, but got {len(data)}")
    if not data.strip():
        return {}
    if _depth(data) > MAX_JSON_DEPTH:  # before it is parsed: the parser calls itself for each level
        raise MetadataError(f"expected JSON that is nested at most {MAX_JSON_DEPTH} deep, but got a deeper one")
    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)
    except MetadataError:
        raise
    except (ValueError, RecursionError) as e:
        raise MetadataError(f"expected JSON, but got {_shown(data)} ({type(e).__name__})") from e
    if not isinstance(value, dict):
        raise MetadataError(f'expected an object such as {{"part_id": "..."}}, but got {_shown(data)}')
    return value


def checked_text(value: object, what: str) -> str | None:
    """Return a text from outside; None for None or an empty text. A whole number becomes its digits.

    Args:
        value: of JSON, of a header, or of a query.
        what: names the value in the message, such as `part_id`.

    Raises:
        MetadataError: another type, more than `MAX_TEXT` characters, or a character that is no text: a control
            character, half of a surrogate pair, or a separator of lines.
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 64:
        return str(value)
    if not isinstance(value, str):
        raise MetadataError(f"expected {what} to be text, but got a value of type {type(value).__name__}")
    if len(value) > MAX_TEXT:
        raise MetadataError(f"expected {what} to have at most {MAX_TEXT} characters, but got {len(value)}")
    bad = next((character for character in value if unicodedata.category(character) in _NO_TEXT), None)
    if bad is not None:
        raise MetadataError(f"expected {what} to be printable text, but it holds U+{ord(bad):04X}")
    return value or None


def _depth(data: bytes) -> int:
    """How deep JSON is nested; brackets inside of strings do not count."""
    deepest = depth = 0
    in_text = escaped = False
    for byte in data:
        if in_text:
            if escaped:
                escaped = False
            elif byte == 0x5C:  # backslash
                escaped = True
            elif byte == 0x22:  # quotation mark
                in_text = False
        elif byte == 0x22:
            in_text = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise MetadataError(f"expected finite numbers, but got {text[:_SHOWN]}")
    return number


def _refuse_constant(text: str) -> float:
    raise MetadataError(f"expected finite numbers, but got {text}")


def _shown(data: bytes) -> str:
    return ascii(data[:_SHOWN])
