"""Which lines drift now: what the reconciler tells the labeling pipeline, `kizu-state/drift/<use case>.json`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from inspection.codec import Document, Part
from inspection.paths import check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftingLine(Part):
    """The line of one device that drifts.

    since: the begin of the first window that differs. classes: only these drift, by scores or sizes of boxes; empty:
    the whole picture does.
    """

    device: str
    since: datetime
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("device", self.device)

    def shows_in(self, device: str, at: datetime, classes: Collection[str]) -> bool:
        """Whether a picture is of this line while it drifts. at: when it was taken; classes: what was found on it."""
        return (
            device == self.device
            and at >= self.since
            and (not self.classes or not set(classes).isdisjoint(self.classes))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftingLines(Document):
    """The lines of a product that drift, by device. at: when the reconciler found that they had changed."""

    use_case: str
    at: datetime
    lines: tuple[DriftingLine, ...] = ()

    def __post_init__(self) -> None:
        check_name("use case", self.use_case)


def since_their_begin(lines: Iterable[DriftingLine], before: Iterable[DriftingLine]) -> tuple[DriftingLine, ...]:
    """The same lines, each since it began to drift: a line that drifted before keeps the earlier time."""
    known = {line.device: line.since for line in before}
    return tuple(replace(line, since=min(line.since, known.get(line.device, line.since))) for line in lines)
