"""The first job: people draw boxes. Reconciles instead of waiting: tops up tasks, collects what is finished."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from components.label_store import LabelEvent, LabelStatus, LabelStore, event_id
from components.labeling.conversion import Tally, from_regions
from components.labeling.label_studio import SOURCE, LabelStudioServer
from components.labeling.task_data import LabelingData, TaskDataError
from components.labeling.tasks import Annotation, NewTask, Task
from components.labeling.unlabelled import Batch
from components.use_case import UseCase

_log = logging.getLogger(__name__)


class Tenure(Protocol):
    """What a job needs of a lease."""

    def renew(self) -> None:
        """Stay the holder, or raise LeaseError."""


Hold = Callable[[], AbstractContextManager[Tenure]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to look for people's work: 0 collects what is done and leaves. Clock and sleep are arguments."""

    wait_s: float
    poll_s: float = 8.0
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class FinishedLabels:
    """A labeling task with a person's annotation, converted. event: the `labelled` event that it stands for."""

    task: Task
    data: LabelingData
    annotation: Annotation
    event: LabelEvent
    tally: Tally


@dataclass(frozen=True, slots=True)
class LabelingResult:
    """labelled: new events of this run; open_tasks: without a finished annotation; tally: boxes changed or left out."""

    labelled: int
    open_tasks: int
    created: int
    foreign_tasks: int
    tally: Tally = field(default_factory=Tally)


def label(
    use_case: UseCase,
    batch: Batch,
    server: LabelStudioServer,
    labels: LabelStore,
    hold: Hold,
    waiting: Waiting,
) -> LabelingResult:
    """Make the batch's tasks, then collect finished ones until all are, or the wait is over.

    Raises:
        LabelingError, LabelStoreError: run it again; it continues where it stopped.
    """
    created = 0
    with hold() as tenure:
        project_id = server.ensure_project(use_case, "labeling")
        tasks = remove_twins(server, server.tasks(project_id), tenure)
        wanted = tasks_to_make(batch, tasks, use_case.labeling.max_images_per_job)
        if wanted:
            created = server.create_tasks(
                project_id, [NewTask(data.to_data()) for data in wanted], before_each=tenure.renew
            )
            _log.info("%d labeling tasks were made in project %d", created, project_id)
            # an answer that was lost and a request sent again leave twins
            remove_twins(server, server.tasks(project_id), tenure)
    gives_up_at = waiting.now() + waiting.wait_s
    events = labels.events(use_case=use_case.name)
    labelled = 0
    while True:
        tasks = server.tasks(project_id)
        finished = finished_labels(use_case, project_id, tasks)
        fresh = record(labels, events, [item.event for item in finished])
        events += fresh
        labelled += len(fresh)
        open_tasks = sum(1 for task in own_tasks(tasks) if task.finished is None)
        if open_tasks == 0 or waiting.now() >= gives_up_at:
            break
        waiting.sleep(min(waiting.poll_s, max(0.0, gives_up_at - waiting.now())))
    tally = sum((item.tally for item in finished), Tally())
    if tally.counts():
        _log.warning("boxes changed or left out in project %d: %s", project_id, tally.counts())
    foreign = len(tasks) - len(own_tasks(tasks))
    if foreign:
        _log.warning("%d tasks of project %d were not made by this product and are left alone", foreign, project_id)
    _log.info("%d images were labelled; %d labeling tasks are open", labelled, open_tasks)
    return LabelingResult(labelled, open_tasks, created, foreign, tally)


def tasks_to_make(batch: Batch, tasks: Iterable[Task], max_open: int) -> list[LabelingData]:
    """The batch's images without a task, in their order, so that at most `max_open` tasks are open."""
    own = own_tasks(tasks)
    present = {str(task.data["sha256"]) for task in own}
    room = max(0, max_open - sum(1 for task in own if task.finished is None))
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
        )
        for image in batch.images
        if image.sha256 not in present
    ]
    return wanted[:room]


def own_tasks(tasks: Iterable[Task]) -> list[Task]:
    """Those that this product made, readable as labeling tasks."""
    return [task for task in tasks if _data(task) is not None]


def twins(tasks: Iterable[Task], key: Callable[[Task], str | None]) -> list[Task]:
    """What to remove so that each key has one task: the younger ones on which nobody has worked."""
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
    """Remove the labeling tasks that two runs at once, or a lost answer, left twice; the others."""
    extra = twins(tasks, lambda task: data.key if (data := _data(task)) else None)
    for task in extra:
        tenure.renew()
        _log.warning("labeling task %d is a twin without work in it and is removed", task.id)
        server.delete_task(task.id)
    gone = {task.id for task in extra}
    return [task for task in tasks if task.id not in gone]


def finished_labels(use_case: UseCase, project_id: int, tasks: Iterable[Task]) -> list[FinishedLabels]:
    """Each image's finished annotation; of two tasks with work for one image, the older task's."""
    found: dict[str, FinishedLabels] = {}
    for task in sorted(tasks, key=lambda task: task.id):
        data = _data(task)
        annotation = task.finished
        if data is None or annotation is None or data.sha256 in found:
            continue
        converted = from_regions(annotation.result, use_case.classes, data.width, data.height)
        updated_at = annotation.updated_at.isoformat(timespec="microseconds")
        event = LabelEvent(
            event_id=event_id(SOURCE, str(project_id), annotation.id, updated_at, LabelStatus.LABELLED),
            use_case=use_case.name,
            image_uri=data.image,
            sha256=data.sha256,
            width=data.width,
            height=data.height,
            boxes=converted.boxes,
            status=LabelStatus.LABELLED,
            at=annotation.updated_at,
            group=data.group,
            source=SOURCE,
            annotator=annotation.completed_by,
            project=str(project_id),
            task=str(task.id),
            annotation=annotation.id,
        )
        found[data.sha256] = FinishedLabels(task, data, annotation, event, converted.tally)
    return list(found.values())


def record(labels: LabelStore, known: Iterable[LabelEvent], events: Iterable[LabelEvent]) -> list[LabelEvent]:
    """Append the events that are not among the known ones; those."""
    ids = {event.event_id for event in known}
    fresh = [event for event in events if event.event_id not in ids]
    if fresh:
        labels.append(fresh)
    return fresh


def _data(task: Task) -> LabelingData | None:
    try:
        return LabelingData.from_data(task.data)
    except TaskDataError:
        return None
