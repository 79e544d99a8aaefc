"""Reads and writes documents as canonical JSON, without a library: this room imports numpy and OpenCV only.

A document is a frozen dataclass. Unknown keys are kept in its field `unknown` and written again, so that an older
program does not lose what a newer one wrote. Canonical means sorted keys, no spaces and UTF-8: the same document always
has the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, Final, Self, Union, get_args, get_origin, get_type_hints

LEFT_OUT: Final = types.MappingProxyType({"left_out": True})
"""The metadata of a field that came later and is left out where it has its default, so that documents of before keep
their bytes and their digests."""


class DocumentError(ValueError):
    """A document has another form. The message names the place, what was expected, and what came."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a document: a JSON object whose keys are the names of the fields."""

    unknown: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Document(Part):
    """A whole document, with the version of its form.

    newest: the highest `schema_version` that this program reads; a higher one is refused.
    """

    newest: ClassVar[int] = 1
    schema_version: int = 1

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(_encode(self))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read a document.

        Raises:
            DocumentError: no JSON, a missing key, a wrong type or value, or a newer `schema_version`.
        """
        try:
            value = json.loads(data)
        except (ValueError, UnicodeDecodeError, RecursionError) as e:
            raise DocumentError(f"{cls.__name__}: expected JSON, got {data[:40]!r} ({e})") from e
        version = value.get("schema_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > cls.newest:
            raise DocumentError(
                f"{cls.__name__}: schema_version {version} is newer than this program ({cls.newest}); update it"
            )
        document = _decode(cls, value, cls.__name__)
        assert isinstance(document, cls)
        try:
            document.to_json()  # finds NaN and half surrogate pairs among the unknown keys
        except ValueError as e:
            raise DocumentError(f"{cls.__name__}: it holds a value that cannot be written as JSON: {e}") from e
        return document


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_ALWAYS: Final = object()
"""In the place of the value of a field that is left out: this field never is."""
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def canonical_json(value: object) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN."""
    return _CANONICAL.encode(value).encode()


def _encode(value: Any) -> Any:
    kind: type = type(value)
    if kind in _PLAIN:
        return value
    names = _fields(kind)
    if names is not None:
        known = {
            name: _encode(found)
            for name, default in names
            if (found := getattr(value, name)) is not default and (default is _ALWAYS or found != default)
        }
        return {**value.unknown, **known} if isinstance(value, Part) else known
    if isinstance(value, datetime):
        return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat(timespec="microseconds")
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return value


@cache
def _fields(kind: type) -> tuple[tuple[str, Any], ...] | None:
    """The names of a dataclass's fields, each with the value that is left out; None for another type."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(
        (field.name, field.default if "left_out" in field.metadata else _ALWAYS)
        for field in dataclasses.fields(kind)
        if not (issubclass(kind, Part) and field.name == "unknown")
    )


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        kinds = [item for item in get_args(kind) if item is not type(None)]
        return _decode(kinds[0], value, where)
    if kind is Any:
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _expected("a list", value, where)
        return tuple(_decode(get_args(kind)[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping or kind is Mapping or origin is dict:
        if not isinstance(value, dict):
            raise _expected("an object", value, where)
        return {key: _decode(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _expected("a finite number", value, where)
        try:
            number = float(value)
        except OverflowError as e:
            raise _expected("a finite number", value, where) from e
        if not math.isfinite(number):
            raise _expected("a finite number", value, where)
        return number
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _expected("a whole number", value, where)
        return value
    if kind in (str, bool):
        if not isinstance(value, kind):
            raise _expected("text" if kind is str else "true or false", value, where)
        return value
    if kind is datetime:
        return _decode_time(value, where)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError as e:
            raise _expected(f"one of {[str(item) for item in kind]}", value, where) from e
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_object(kind, value, where)
    raise TypeError(f"{where}: no rule for {kind!r}")


def _decode_time(value: Any, where: str) -> datetime:
    if not isinstance(value, str):
        raise _expected("a time as ISO 8601 text", value, where)
    try:
        time = datetime.fromisoformat(value)
        time.astimezone(UTC)
    except (ValueError, OverflowError) as e:  # overflow: the year 1 in a zone ahead of UTC
        raise _expected("a time as ISO 8601 text", value, where) from e
    if time.tzinfo is None:
        raise _expected("a time with a zone", value, where)
    return time


def _decode_object(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _expected("an object", value, where)
    hints = _hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.name != "unknown"]
    known: dict[str, Any] = {}
    for field in fields:
        if field.name in value:
            known[field.name] = _decode(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DocumentError(f"{where}: the key {field.name!r} is missing")
    if issubclass(kind, Part):
        names = {field.name for field in fields}
        known["unknown"] = {key: item for key, item in value.items() if key not in names}
    try:
        return kind(**known)
    except ValueError as e:
        raise DocumentError(f"{where}: {e}") from e


def _expected(what: str, value: Any, where: str) -> DocumentError:
    return DocumentError(f"{where}: expected {what}, but got {str(value)[:60]!r}")
