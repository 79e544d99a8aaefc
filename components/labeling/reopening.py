"""Images that go back to people: approved, imported or set aside before, and in doubt now. Rules over values.

A `reopened` event takes the image out of the approved labels, until two people have looked at it again. It carries the
boxes that held before, and the labeler begins with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from components.labeling.task_data import VerificationData
from components.labeling.tasks import Task
from components.labeling.texts import Texts
from components.stores.labels.renames import reason_for_people, rename_boxes
from components.stores.labels.store import LabelEvent, LabelStatus, event_id
from inspection.geometry import LabelledBox


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an image stands. last: its latest event; decided: the latest one that decides whether it is approved."""

    last: LabelEvent
    decided: LabelEvent | None

    @property
    def is_imported(self) -> bool:
        """Whether it has boxes that nobody drew in a task, and that wait for the verifier."""
        approved = self.decided is not None and self.decided.status is LabelStatus.APPROVED
        return self.last.status is LabelStatus.LABELLED and self.last.task is None and not approved

    @property
    def is_with_people(self) -> bool:
        """Whether labelers or verifiers have it already."""
        return not self.is_imported and not (
            self.decided is not None and self.decided.status in (LabelStatus.APPROVED, LabelStatus.UNUSABLE)
        )


@dataclass(frozen=True, slots=True)
class Start:
    """What a labeler begins with. note: shown above the image."""

    note: str
    boxes: tuple[LabelledBox, ...]


def standings(events: Iterable[LabelEvent]) -> dict[str, Standing]:
    """sha256 of each image -> where it stands. events: of one use case, in any order, each once."""
    found: dict[str, Standing] = {}
    for event in sorted(events, key=lambda event: (event.at, event.event_id)):
        before = found.get(event.sha256)
        decided = event if event.status.decides else before.decided if before else None
        found[event.sha256] = Standing(event, decided)
    return found


def reopened(standing: Standing, reason: str, now: datetime, *, source: str = "reopen", by: str = "") -> LabelEvent:
    """The event that gives an image back to people.

    Args:
        standing: of the image.
        reason: for the labeler.
        now: with a time zone.
        source: who asked for it: `reopen`, a person; `objection`, an operator.
        by: what asked for it, if it may ask once only: the id of an objection's Capture. By default the image's latest
            event: asking twice for the same thing makes the same event.
    """
    last = standing.last
    # The boxes that held: those of the approval, not those of a drawing that nobody verified.
    held = standing.decided if standing.decided is not None and standing.decided.boxes else last
    return replace(
        held,
        event_id=event_id(source, last.use_case, f"{last.sha256}:{by or last.event_id}", "", LabelStatus.REOPENED),
        status=LabelStatus.REOPENED,
        at=max(now, last.at + timedelta(microseconds=1)),
        source=source,
        annotator=None,
        verifier=None,
        reason=reason,
        prelabel_model=None,
        project=None,
        task=None,
        annotation=None,
    )


def starts(
    standing: Mapping[str, Standing],
    classes: Sequence[str],
    texts: Texts,
    former: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Start]:
    """sha256 -> what the labeler of a new task begins with, for images that were reopened or rejected.

    former: the former name of a class -> its name now.
    """
    found = {}
    for sha256, stands in standing.items():
        last = stands.last
        boxes = tuple(box for box in rename_boxes(last.boxes, former) if box.class_name in classes)
        reason = reason_for_people(last.reason)
        if last.status is LabelStatus.REOPENED:
            found[sha256] = Start(texts.reopened.format(reason=reason or "-"), boxes)
        elif last.status is LabelStatus.REJECTED:
            found[sha256] = Start(texts.returned_because(reason), boxes)
    return found


def tasks_to_open(tasks: Iterable[Task], standing: Mapping[str, Standing]) -> list[tuple[Task, LabelEvent]]:
    """Labeling tasks of reopened images in which everything that people did is older, with the event."""
    found = []
    for task in tasks:
        stands = standing.get(str(task.data.get("sha256")))
        event = stands.decided if stands else None
        if event is None or event.status is not LabelStatus.REOPENED or not task.annotations:
            continue
        if all(annotation.updated_at < event.at for annotation in task.annotations):
            found.append((task, event))
    return found


def shown_to_nobody(
    standing: Mapping[str, Standing], classes: Sequence[str], shows: Callable[[str, str], bool]
) -> list[LabelEvent]:
    """Imported boxes that cannot be verified: of a TIFF without a rendition, or of a class that the use case lacks.

    shows: URI and sha256 of an image -> whether people can be shown it.
    """
    return [s.last for s in standing.values() if s.is_imported and not _can_be_shown(s.last, classes, shows)]


def _can_be_shown(event: LabelEvent, classes: Sequence[str], shows: Callable[[str, str], bool]) -> bool:
    return all(box.class_name in classes for box in event.boxes) and shows(event.image_uri, event.sha256)


def imports_to_verify(
    standing: Mapping[str, Standing],
    labeling: Iterable[Task],
    classes: Sequence[str],
    texts: Texts,
    shows: Callable[[str, str], bool],
) -> list[VerificationData]:
    """The verification tasks of imported boxes that nobody trusted, oldest first.

    An image with a labeling task is left to its labeler. See also `shown_to_nobody`.
    labeling: the tasks of the labeling project. shows: URI and sha256 of an image -> whether people can be shown it.
    """
    drawn = {str(task.data.get("sha256")) for task in labeling}
    wanted = [
        stands.last
        for sha256, stands in standing.items()
        if stands.is_imported and sha256 not in drawn and _can_be_shown(stands.last, classes, shows)
    ]
    return [
        VerificationData.of(
            event,
            annotation=event.annotation or "",
            annotators=(),
            note=f"{texts.imported} {texts.count(event.boxes)}",
        )
        for event in sorted(wanted, key=lambda event: (event.at, event.event_id))
    ]
