"""The first job: people draw boxes. Each run makes the tasks that are missing and collects the finished drawings."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from components.labeling.conversion import Tally, to_regions, to_suggested_regions
from components.labeling.drawings import Drawings, labeling_data_of, own_tasks, read_drawings
from components.labeling.known_events import KnownEvents
from components.labeling.label_studio import LabelStudioServer
from components.labeling.prelabels import Prelabeller
from components.labeling.projects import OF_CLASSES
from components.labeling.reopening import Start, starts
from components.labeling.task_data import LabelingData
from components.labeling.tasks import NewTask, Suggestion, Task
from components.labeling.texts import TEXTS
from components.labeling.unlabelled import Batch
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.use_case import UseCase

_log = logging.getLogger(__name__)


class Tenure(Protocol):
    """The part of a lease that a job uses."""

    def renew(self) -> None:
        """Stay the holder, or raise LeaseError."""


Hold = Callable[[], AbstractContextManager[Tenure]]


@dataclass(frozen=True, slots=True)
class LabelingResult:
    """labelled: new label events of this run; open_tasks: tasks that wait for a person.

    tally: boxes changed or left out.
    suggested_kept, suggested_changed: new drawings that kept a model's boxes as they were, or changed them.
    """

    labelled: int
    open_tasks: int
    created: int
    foreign_tasks: int
    tally: Tally = field(default_factory=Tally)
    suggested_kept: int = 0
    suggested_changed: int = 0


def label(
    use_case: UseCase,
    batch: Batch,
    server: LabelStudioServer,
    labels: LabelStore,
    hold: Hold,
    prelabel: Prelabeller = lambda uri, sha256: None,
) -> LabelingResult:
    """Make the batch's tasks and collect the drawings that are finished. This job does not wait for people.

    Raises:
        LabelingError, LeaseError, LabelStoreError: run it again; it continues where it stopped.
    """
    known = KnownEvents(labels, use_case.name)
    known.refresh()
    stands = known.to_begin_with(image.sha256 for image in batch.images)
    settings = use_case.labeling
    begin = starts(stands, use_case.classes, TEXTS[settings.language], settings.former_classes)
    with hold() as tenure:
        project_id = server.ensure_project(use_case, "labeling")
        created = _keep_tasks(use_case, batch, begin, server, project_id, prelabel, tenure)
    tasks = server.tasks(project_id)
    drawings = read_drawings(use_case, project_id, tasks)
    recorded = record(labels, known, drawings.events)
    labelled = {event.event_id for event in recorded if event.status is LabelStatus.LABELLED}
    log_aside(drawings)
    ask_others(server, drawings)
    foreign = len(tasks) - len(own_tasks(tasks))
    if foreign:
        _log.warning("%d tasks of project %d were not made by Kizu and are left alone", foreign, project_id)
    _log.info("%d images were labelled; %d labeling tasks are open", len(labelled), len(drawings.open))
    kept, changed = log_drawings(project_id, drawings, labelled)
    return LabelingResult(len(labelled), len(drawings.open), created, foreign, tally_of(drawings), kept, changed)


def log_drawings(project_id: int, drawings: Drawings, labelled: Collection[str]) -> tuple[int, int]:
    """Log what of people's boxes was changed or left out, and how people treated a model's boxes.

    labelled: event ids of the new drawings. Returns how many of these kept a model's boxes as they were, and how many
    changed them.
    """
    tally = tally_of(drawings)
    if others := drawings.of_other_classes:
        _log.warning(
            "%d drawings have boxes of a class that the use case does not have, and no verifier gets them; see "
            "task %d. %s; else draw these images again",
            len(others),
            others[0].task.id,
            OF_CLASSES,
        )
    if tally.counts():
        _log.warning("boxes changed or left out in project %d: %s", project_id, tally.counts())
    kept, changed = len(drawings.suggested_kept & set(labelled)), len(drawings.suggested_changed & set(labelled))
    if kept or changed:
        _log.info("of the boxes that a model suggested, people kept those of %d images and changed %d", kept, changed)
    return kept, changed


def log_aside(drawings: Drawings) -> None:
    """Log which images people set aside, and which they skipped without a reason."""
    if drawings.unusable:
        reasons = Counter(event.reason for event in drawings.unusable)
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items(), key=str))
        _log.info("%d images are set aside by people: %s; see: kizu labels aside", len(drawings.unusable), said)
    if drawings.skipped:
        _log.warning(
            "%d images were skipped without a reason and wait for another person; they take no place of others",
            len(drawings.skipped),
        )


def tally_of(drawings: Drawings) -> Tally:
    """The boxes of all finished drawings that were changed or left out."""
    return sum((item.tally for item in (*drawings.finished, *drawings.of_other_classes)), Tally())


def tasks_to_make(
    batch: Batch,
    tasks: Iterable[Task],
    open_tasks: int,
    max_open: int,
    overlap: int = 1,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> list[LabelingData]:
    """The batch's images without a task, in their order; as many as keep the open tasks at `max_open` or fewer."""
    present = {data.sha256 for task in tasks if (data := labeling_data_of(task))}
    wanted = [
        LabelingData(
            image=image.uri,
            sha256=image.sha256,
            width=image.width,
            height=image.height,
            group=image.group,
            reason=image.reason,
            device=image.device,
            day=image.day,
            note=notes.get(image.sha256, ""),
            why=image.why,
            overlap=overlap,
        )
        for image in batch.images
        if image.sha256 not in present
    ]
    return wanted[: max(0, max_open - open_tasks)]


def ask_others(server: LabelStudioServer, drawings: Drawings) -> None:
    """Have Label Studio offer an image to one more person, if it counts the image as done."""
    for task, wanted in drawings.asking:
        _log.info("labeling task %d asks for another person", task.id)
        server.ask_for_annotations(task.id, wanted)


def _keep_tasks(
    use_case: UseCase,
    batch: Batch,
    begin: Mapping[str, Start],
    server: LabelStudioServer,
    project_id: int,
    prelabel: Prelabeller,
    tenure: Tenure,
) -> int:
    """Make missing tasks, remove twins and suggest boxes. Returns how many tasks were made."""
    settings = use_case.labeling
    tasks = remove_twins(server, server.tasks(project_id), tenure)
    drawings = read_drawings(use_case, project_id, tasks)
    notes = {sha256: start.note for sha256, start in begin.items()}
    wanted = tasks_to_make(batch, tasks, drawings.handed_out, settings.max_images_per_job, settings.overlap, notes)
    created = 0
    if wanted:
        new = []
        for data in wanted:
            tenure.renew()
            if (start := begin.get(data.sha256)) is not None:
                new.append(NewTask(data.to_data(), to_regions(start.boxes, data.width, data.height)))
                continue
            suggestion = _suggestion(prelabel, data)
            new.append(NewTask(data.to_data(), suggestion.regions if suggestion else None, suggestion))
        created = server.create_tasks(project_id, new, before_each=tenure.renew)
        suggested = sum(1 for task in new if task.suggestion)
        _log.info("%d labeling tasks were made in project %d, %d with pre-labels", created, project_id, suggested)
        # a request that was sent again, because its answer was lost, leaves twins
        tasks = remove_twins(server, server.tasks(project_id), tenure)
    # An interrupted import leaves tasks without boxes, and a new champion has not seen the open tasks.
    for task in tasks:
        known = labeling_data_of(task)
        if known is None or known.note or task.annotations or task.has_draft or task.predictions:
            continue
        tenure.renew()
        if suggestion := _suggestion(prelabel, known):
            server.show_boxes(task, suggestion.regions, task.data, suggestion)
    return created


def _suggestion(prelabel: Prelabeller, data: LabelingData) -> Suggestion | None:
    found = prelabel(data.image, data.sha256)
    if found is None:
        return None
    return Suggestion(found.model, found.score, to_suggested_regions(found.detections, data.width, data.height))


def twins(tasks: Iterable[Task], key: Callable[[Task], str | None]) -> list[Task]:
    """The tasks to remove so that each key has one task: the younger ones on which nobody has worked."""
    by_key: dict[str, list[Task]] = {}
    for task in tasks:
        name = key(task)
        if name is not None:
            by_key.setdefault(name, []).append(task)
    extra: list[Task] = []
    for same in by_key.values():
        _, *others = sorted(same, key=lambda task: (not task.annotations, not task.has_draft, task.id))
        extra += [task for task in others if not task.annotations and not task.has_draft]
    return extra


def remove_twins(server: LabelStudioServer, tasks: Sequence[Task], tenure: Tenure) -> list[Task]:
    """Remove labeling tasks that exist twice, after concurrent runs or a lost answer. Returns the other tasks."""
    extra = twins(tasks, lambda task: data.key if (data := labeling_data_of(task)) else None)
    for task in extra:
        tenure.renew()
        _log.warning("labeling task %d is a twin without work in it and is removed", task.id)
        server.delete_task(task.id)
    gone = {task.id for task in extra}
    return [task for task in tasks if task.id not in gone]


def record(labels: LabelStore, known: KnownEvents, events: Collection[LabelEvent]) -> list[LabelEvent]:
    """Append the events that are not known, and return them. They are known afterwards."""
    fresh = unrecorded(known, events)
    if fresh:
        labels.append(fresh)
        known.add(fresh)
    return fresh


def unrecorded(known: KnownEvents, events: Collection[LabelEvent]) -> list[LabelEvent]:
    """Those of these events that are not known."""
    ids = known.among(event.event_id for event in events)
    return [event for event in events if event.event_id not in ids]
