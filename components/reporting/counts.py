"""Counts labels, and the work of the people who made them, in one pass over the events of the label store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date

from components.stores.labels.store import LabelEvent, LabelStatus
from components.stores.models.evaluation_report import Rate


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


def count_labels(events: Iterable[LabelEvent], classes: Iterable[str]) -> LabelCounts:
    """Count the labels of a use case.

    Args:
        events: the events of the use case, ordered by time, each once.
        classes: the classes of the use case. A class without a box is counted as zero.
    """
    approved: dict[str, LabelEvent] = {}
    latest: dict[str, LabelEvent] = {}
    labelled_on: Counter[date] = Counter()
    rejected_on: Counter[date] = Counter()
    drawing: dict[str, _Work] = {}
    verifying: dict[str, _Work] = {}
    for event in events:
        day = event.at.astimezone(UTC).date()
        latest[event.sha256] = event
        if event.status is LabelStatus.LABELLED:
            labelled_on[day] += 1
            if event.annotator is not None:
                drawing.setdefault(event.annotator, _Work()).add(day)
        elif event.status.decides and event.status is not LabelStatus.APPROVED:
            approved.pop(event.sha256, None)
        else:
            rejected = event.status is LabelStatus.REJECTED
            if rejected:
                rejected_on[day] += 1
            else:
                approved[event.sha256] = event
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
        days=_by_day(approved.values(), labelled_on, rejected_on),
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
