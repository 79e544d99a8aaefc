"""What every reader returns: one row for each image, as the source says it. Trust is applied later."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from components.stores.labels.box_rule import Drawn, number

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST_SECONDS: Final = 100_000_000.0
_CLOCKS_DIFFER_BY: Final = timedelta(minutes=5)
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_HYPHENS: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

TIME_FORMS: Final = "ISO 8601 (2024-05-01T12:30:00Z) or as seconds since 1970 (1714566600)"


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
        """The use case's class, or None. index: the source's number; name: None if the source names none, and
        the number is a place in the use case.
        """
        for said in (name, str(index)):
            if isinstance(said, str) and said in self._renamed:
                return self._renamed[said]
        if name is not None:
            return name if isinstance(name, str) and name in self._classes else None
        if isinstance(index, bool) or not isinstance(index, int):
            return None
        return self._classes[index] if 0 <= index < len(self._classes) else None

    @property
    def is_single(self) -> bool:
        """Whether there is one class, and no other names for it, so that a number can mean nothing else."""
        return len(self._classes) == 1 and not self._renamed

    def expect_names(self, where: str) -> None:
        """Refuse numbers alone where their order could be another one here. where: what names no classes.

        Raises:
            ExchangeError: the use case has several classes, and no `--class` says which number is which.
        """
        if len(self._classes) > 1 and not self._renamed:
            asked = " ".join(f"--class {number}={name}" for number, name in enumerate(self._classes))
            raise ExchangeError(
                f"expected names for the numbers of the classes, but {where} have none, and the use case has "
                f"{len(self._classes)} classes; say which number is which, for example: {asked}"
            )


def corner_box(value: Any, class_name: str | None) -> Drawn:
    """A box of Ground Truth and of the Feature Store: left, top, width, height, in pixels."""
    if not isinstance(value, Mapping):
        return Drawn(None, is_rectangle=False)
    return Drawn(class_name, value.get("left"), value.get("top"), value.get("width"), value.get("height"))


def around(points: Sequence[tuple[Any, Any]]) -> Drawn | None:
    """The box around the corners of a polygon (x, y, in pixels), of no class yet; None where one is no number."""
    xs, ys = [number(x) for x, _ in points], [number(y) for _, y in points]
    known_x, known_y = [x for x in xs if x is not None], [y for y in ys if y is not None]
    if not points or len(known_x) < len(xs) or len(known_y) < len(ys):
        return None
    left, top = min(known_x), min(known_y)
    return Drawn(None, left, top, max(known_x) - left, max(known_y) - top, is_outline=True)


def turned(class_name: str | None, x: Any, y: Any, width: Any, height: Any, degrees: Any) -> Drawn:
    """A box that is turned clockwise about its middle, as CVAT keeps it. x, y: its corner before the turn, pixels."""
    values = [number(value) for value in (x, y, width, height, degrees)]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Drawn(class_name, x, y, width, height, degrees)
    left, top, w, h, angle = known
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # The rule turns about the corner, so the corner goes where the turn about the middle brings it.
    corner_x = left + w / 2 - w / 2 * cos + h / 2 * sin
    corner_y = top + h / 2 - w / 2 * sin - h / 2 * cos
    return Drawn(class_name, corner_x, corner_y, w, h, angle)


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


def moment(value: Any, name: str, now: datetime | None = None) -> datetime:
    """Parse a time: ISO 8601 with hyphens (UTC if it names no zone), or seconds since 1970.

    A number below 100,000,000 (1973) is refused, because `20240501` is a date to people. now: None asks the clock.

    Raises:
        RowError: it is neither, before 1970, or after now.
    """
    text = str(value).strip()
    try:
        at = _parsed(text)
    except (ValueError, OverflowError, OSError) as e:
        raise RowError("time", f"expected {name} as {TIME_FORMS}, but got {text[:40]!r}") from e
    if at < _EARLIEST:
        raise RowError("time", f"expected {name} after 1970, but got {text[:40]!r}")
    return check_not_after(at, name, datetime.now(UTC) if now is None else now)


def _parsed(text: str) -> datetime:
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        if abs(seconds) < _LEAST_SECONDS:
            raise ValueError("too few seconds to be a date of labels")
        return datetime.fromtimestamp(seconds, UTC)
    if not _HYPHENS.match(text):
        raise ValueError("no date with hyphens")
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def check_not_after(at: datetime, name: str, now: datetime) -> datetime:
    """The time, or now where another machine's clock is a little ahead. A label of the future would win for ever.

    Raises:
        RowError: it lies after now.
    """
    if at > now + _CLOCKS_DIFFER_BY:
        raise RowError(
            "time",
            f"expected {name} before now ({now.isoformat(timespec='seconds')}), "
            f"but got {at.isoformat(timespec='seconds')}; a time without a zone is read as UTC",
        )
    return min(at, now)
