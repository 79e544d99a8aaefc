"""What every reader returns: one row for each image, as the source says it. Trust is applied later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from components.stores.labels.box_rule import Drawn, number

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


class ExchangeError(ValueError):
    """A file of labels cannot be read or written at all; the message says what to do."""


class RowError(ValueError):
    """A row that is set aside. reason: a fixed word for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceStatus(StrEnum):
    """What the source says about a row; `unsaid` for formats without verification."""

    LABELLED = "labelled"
    APPROVED = "approved"
    REJECTED = "rejected"
    DELETED = "deleted"
    UNSAID = "unsaid"


class Unit(StrEnum):
    """The unit of the boxes of a row."""

    PIXELS = "pixels"
    SHARES = "shares"
    """Of the picture's width and height, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One image and its boxes. at: when they were drawn; at_said: False if that is only the date of a file.

    said: the source's own word for the status;
    width, height: pixels as the source says, or None; job: the job that made the boxes, for the record.
    """

    line: int | None
    image: str
    boxes: tuple[Drawn, ...]
    status: SourceStatus
    said: str = ""
    at: datetime | None = None
    at_said: bool = True
    job: str = ""
    width: int | None = None
    height: int | None = None
    group: str | None = None
    unit: Unit = Unit.PIXELS


class ClassNames:
    """Maps a source's classes to those of the use case: by the given names, else by the same name or number."""

    def __init__(self, classes: tuple[str, ...], renamed: Mapping[str, str]) -> None:
        """renamed: the source's name or number -> a class of the use case.

        Raises:
            ExchangeError: a class that the use case does not have.
        """
        unknown = sorted(set(renamed.values()) - set(classes))
        if unknown:
            raise ExchangeError(f"expected classes of the use case, {', '.join(classes)}, but got {', '.join(unknown)}")
        self._classes = classes
        self._renamed = renamed

    def find(self, index: Any, name: Any = None) -> str | None:
        """The use case's class, or None. index: the source's number; name: None if the source names none."""
        for said in (name, str(index)):
            if isinstance(said, str) and said in self._renamed:
                return self._renamed[said]
        if name is not None:
            return name if isinstance(name, str) and name in self._classes else None
        if isinstance(index, bool) or not isinstance(index, int):
            return None
        return self._classes[index] if 0 <= index < len(self._classes) else None


def corner_box(value: Any, class_name: str | None) -> Drawn:
    """A box of Ground Truth and of the Feature Store: left, top, width, height, in pixels."""
    if not isinstance(value, Mapping):
        return Drawn(None, is_rectangle=False)
    return Drawn(class_name, value.get("left"), value.get("top"), value.get("width"), value.get("height"))


def whole_pixels(value: Any, name: str) -> int:
    """A side of an image.

    Raises:
        RowError: it is not a positive whole number.
    """
    try:
        found = number(float(value)) if isinstance(value, str) else number(value)
    except ValueError:
        found = None
    if found is None or found <= 0 or found != int(found):
        raise RowError("size", f"expected {name} as a positive number of pixels, but got {str(value)[:40]!r}")
    return int(found)


def moment(value: Any, name: str) -> datetime:
    """Parse a time: ISO 8601 (UTC if it names no zone), or seconds since 1970.

    Raises:
        RowError: it is neither, or not between 1970 and 2200.
    """
    text = str(value).strip()
    try:
        try:
            at = datetime.fromtimestamp(float(text), UTC)
        except ValueError:
            at = datetime.fromisoformat(text)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as e:
        raise RowError("time", f"expected {name} as a time, but got {text[:40]!r}") from e
    if not _EARLIEST <= at < _LATEST:
        raise RowError("time", f"expected {name} between 1970 and 2200, but got {text[:40]!r}")
    return at
