"""Counts labels, and the work of the people who made them, in one pass over the label store.

The pass takes what was done and by whom, without boxes. Only the labels in force are read whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple, Protocol

from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.labels.views import unique
from components.stores.models.evaluation_report import Rate

_AT_ONCE: Final = 10_000
_TICK: Final = timedelta(microseconds=1)  # by which a copy is later than its original


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class in the approved labels. images: images with at least one box of the class; boxes: its boxes."""

    name: str
    images: int
    boxes: int


@dataclass(frozen=True, slots=True)
class DayCount:
    """One day (UTC). approved: images whose latest approval is of that day; boxes: their boxes, by class."""

    day: date
    labelled: int
    approved: int
    rejected: int
    boxes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Annotator:
    """A person who draws boxes. user: Label Studio's user id.

    rejected: how many decisions on this person's labels were rejections.
    """

    user: str
    labelled: int
    days: int
    last: date
    rejected: Rate

    @property
    def per_day(self) -> float:
        """Labels per day, counting only days with at least one label."""
        return self.labelled / self.days


@dataclass(frozen=True, slots=True)
class Verifier:
    """A person who approves or rejects. rejected: how many of this person's decisions were rejections."""

    user: str
    decided: int
    days: int
    last: date
    rejected: Rate

    @property
    def per_day(self) -> float:
        """Decisions per day, counting only days with at least one decision."""
        return self.decided / self.days


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """The counts of one use case. approved: sha256 of an image -> its latest approved event.

    without_box: approved images without a box. unverified: approved images that no person verified here, because they
    were imported as approved. waiting: images whose latest label waits for a verifier; rejected: images whose latest
    event is a rejection.
    """

    approved: Mapping[str, LabelEvent]
    classes: tuple[ClassCount, ...]
    without_box: int
    unverified: int
    waiting: int
    rejected: int
    days: tuple[DayCount, ...]
    annotators: tuple[Annotator, ...]
    verifiers: tuple[Verifier, ...]

    @property
    def boxes(self) -> int:
        """The number of boxes on all approved images."""
        return sum(count.boxes for count in self.classes)


@dataclass(slots=True)
class _Work:
    done: int = 0
    days: set[date] = field(default_factory=set)
    judged: int = 0
    rejected: int = 0

    def add(self, day: date) -> None:
        self.done += 1
        self.days.add(day)

    def judge(self, *, rejected: bool) -> None:
        self.judged += 1
        self.rejected += rejected

    @property
    def rate(self) -> Rate:
        return Rate(count=self.rejected, n=self.judged)


class Act(Protocol):
    """What the counts take of an event."""

    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> LabelStatus: ...  # noqa: D102
    @property
    def at(self) -> datetime: ...  # noqa: D102
    @property
    def annotator(self) -> str | None: ...  # noqa: D102
    @property
    def verifier(self) -> str | None: ...  # noqa: D102
    @property
    def task(self) -> str | None: ...  # noqa: D102


class _Row(NamedTuple):
    sha256: str
    status: LabelStatus
    at: datetime
    annotator: str | None
    verifier: str | None
    task: str | None


def read_acts(labels: LabelStore, use_case: str, version: int) -> Iterator[Act]:
    """The acts of a use case as of a version, each once, by time. They are columns until somebody asks for the next.

    Raises:
        LabelStoreError: the table could not be read.
    """
    rows = unique(labels.columns(("event_id", *_Row._fields), use_case=use_case, version=version).rows)
    rows = rows.sort_by([("at", "ascending"), ("event_id", "ascending")]).select(_Row._fields)
    for batch in rows.to_batches(max_chunksize=_AT_ONCE):
        for sha256, status, *rest in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield _Row(sha256, LabelStatus(status), *rest)


def count_labels(acts: Iterable[Act], approved: Mapping[str, LabelEvent], classes: Iterable[str]) -> LabelCounts:
    """Count the labels of a use case.

    Args:
        acts: of all events of the use case, ordered by time, each once.
        approved: sha256 of an image -> its latest approved event, where that is in force.
        classes: the classes of the use case. A class without a box is counted as zero.
    """
    latest: dict[str, Act] = {}
    labelled_on: Counter[date] = Counter()
    rejected_on: Counter[date] = Counter()
    drawing: dict[str, _Work] = {}
    verifying: dict[str, _Work] = {}
    for event in acts:
        day = event.at.astimezone(UTC).date()
        before = latest.get(event.sha256)
        latest[event.sha256] = event
        if before is not None and _is_copy(event, before):
            continue
        if event.status is LabelStatus.LABELLED:
            labelled_on[day] += 1
            if event.annotator is not None:
                drawing.setdefault(event.annotator, _Work()).add(day)
        elif event.status in (LabelStatus.APPROVED, LabelStatus.REJECTED):
            rejected = event.status is LabelStatus.REJECTED
            rejected_on[day] += rejected
            if event.verifier is not None:
                work = verifying.setdefault(event.verifier, _Work())
                work.add(day)
                work.judge(rejected=rejected)
                if event.annotator is not None:
                    drawing.setdefault(event.annotator, _Work()).judge(rejected=rejected)
    last_words = Counter(event.status for event in latest.values())
    return LabelCounts(
        approved=approved,
        classes=_by_class(approved.values(), classes),
        without_box=sum(not event.boxes for event in approved.values()),
        unverified=sum(event.verifier is None for event in approved.values()),
        # An imported label has no task. It waits for the verifier, unless an approved label of the image holds.
        waiting=sum(
            event.status is LabelStatus.LABELLED and (event.task is not None or sha256 not in approved)
            for sha256, event in latest.items()
        ),
        rejected=last_words[LabelStatus.REJECTED],
        days=_by_day(approved.values(), labelled_on, +rejected_on),
        annotators=tuple(
            Annotator(user, work.done, len(work.days), max(work.days), work.rate)
            for user, work in sorted(drawing.items(), key=lambda item: (-item[1].done, item[0]))
            if work.done  # the store may hold a decision without the label that it was made on
        ),
        verifiers=tuple(
            Verifier(user, work.done, len(work.days), max(work.days), work.rate)
            for user, work in sorted(verifying.items(), key=lambda item: (-item[1].done, item[0]))
        ),
    )


def _is_copy(event: Act, before: Act) -> bool:
    """Whether an event only corrects the part or renames a class of the one before. Nobody worked again."""
    same = (event.status, event.annotator, event.verifier, event.task) == (
        before.status,
        before.annotator,
        before.verifier,
        before.task,
    )
    return same and event.at - before.at <= _TICK


def _by_class(approved: Iterable[LabelEvent], classes: Iterable[str]) -> tuple[ClassCount, ...]:
    images: Counter[str] = Counter()
    boxes: Counter[str] = Counter()
    for event in approved:
        names = [box.class_name for box in event.boxes]
        images.update(set(names))
        boxes.update(names)
    named = list(dict.fromkeys(classes))
    return tuple(ClassCount(name, images[name], boxes[name]) for name in [*named, *sorted(boxes.keys() - set(named))])


def _by_day(
    approved: Iterable[LabelEvent], labelled_on: Mapping[date, int], rejected_on: Mapping[date, int]
) -> tuple[DayCount, ...]:
    images: Counter[date] = Counter()
    boxes: dict[date, Counter[str]] = {}
    for event in approved:
        day = event.at.astimezone(UTC).date()
        images[day] += 1
        boxes.setdefault(day, Counter()).update(box.class_name for box in event.boxes)
    return tuple(
        DayCount(day, labelled_on.get(day, 0), images[day], rejected_on.get(day, 0), dict(boxes.get(day, {})))
        for day in sorted({*labelled_on, *rejected_on, *images})
    )
