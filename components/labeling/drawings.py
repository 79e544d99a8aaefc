"""Which drawings go to the verifier: rules over values, without a server.

With `overlap: 1` the latest annotation of an image goes. With `overlap: 2` two people draw the image independently. (A
task keeps the overlap that it was made with.)

| People who have drawn | What happens |
|---|---|
| fewer than two | the image stays open |
| two who agree | the boxes of the one who began first go to the verifier |
| two who do not agree | Label Studio asks for a third person |
| a third | the third person's boxes go to the verifier, whether or not they agree with one of the two |

Two people agree if their boxes match one to one: same class, and an intersection over union of at least the use case's
`agreement_iou`. Everybody who completed or changed an annotation is one of its people, so two annotations with a person
in common are not independent. All who drew an image count as its annotators, and none of them may verify it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from components.labeling.conversion import Tally, from_regions
from components.labeling.label_studio import SOURCE
from components.labeling.project_config import SHOWN_BOXES
from components.labeling.task_data import LabelingData, TaskDataError
from components.labeling.tasks import Annotation, Prediction, Task
from components.stores.labels.store import LabelEvent, LabelStatus, boxes_digest, event_id
from components.use_case import UseCase
from inspection.geometry import LabelledBox, iou


@dataclass(frozen=True, slots=True)
class FinishedLabels:
    """A labeling task whose boxes go to the verifier. event: the `labelled` event that they stand for.

    others: the annotations of other people on the same task.
    """

    task: Task
    data: LabelingData
    annotation: Annotation
    event: LabelEvent
    tally: Tally
    others: tuple[Annotation, ...] = ()

    @property
    def annotators(self) -> tuple[str, ...]:
        """All who drew the image; first those whose boxes these are."""
        return tuple(dict.fromkeys(p for a in (self.annotation, *self.others) for p in a.people))


@dataclass(frozen=True, slots=True)
class Drawings:
    """What a labeling project holds now.

    drawn: each person's annotation; open: tasks that wait for a person; asking: tasks with how
    many annotations each should ask for, where Label Studio asks for fewer; suggested_kept, suggested_changed: event
    ids of drawings that began with a model's boxes, and left them as they were or not.
    """

    finished: tuple[FinishedLabels, ...]
    drawn: tuple[FinishedLabels, ...]
    open: tuple[Task, ...]
    asking: tuple[tuple[Task, int], ...] = ()
    suggested_kept: frozenset[str] = frozenset()
    suggested_changed: frozenset[str] = frozenset()

    @property
    def events(self) -> list[LabelEvent]:
        """A `labelled` event for each person's annotation."""
        return [item.event for item in self.drawn]


def own_tasks(tasks: Iterable[Task]) -> list[Task]:
    """The tasks that Kizu made, and that are readable as labeling tasks."""
    return [task for task in tasks if labeling_data_of(task) is not None]


def labeling_data_of(task: Task) -> LabelingData | None:
    """The task's data, or None for a task that Kizu did not make, or that was changed."""
    try:
        return LabelingData.from_data(task.data)
    except TaskDataError:
        return None


def read_drawings(use_case: UseCase, project_id: int, tasks: Iterable[Task]) -> Drawings:
    """The drawings of each image. If two tasks of one image have drawings, the older task counts."""
    finished: dict[str, FinishedLabels] = {}
    everybody: list[FinishedLabels] = []
    open_tasks: list[Task] = []
    asking: list[tuple[Task, int]] = []
    kept: set[str] = set()
    changed: set[str] = set()
    for task in sorted(tasks, key=lambda task: task.id):
        data = labeling_data_of(task)
        if data is None or data.sha256 in finished:
            continue
        drawn = [_labels(use_case, project_id, task, data, annotation) for annotation in _by_person(task, data)]
        chosen, missing = _choose(data.overlap, use_case.labeling.agreement_iou, drawn)
        for item in drawn:
            if item.event.prelabel_model is not None:
                (kept if _as_suggested(use_case, item) else changed).add(item.event.event_id)
        everybody += drawn
        if chosen is None:
            open_tasks.append(task)
            annotations = sum(1 for annotation in task.annotations if not annotation.was_cancelled)
            if drawn and (task.overlap or 0) < annotations + missing:
                asking.append((task, annotations + missing))
        else:
            finished[data.sha256] = chosen
    return Drawings(
        tuple(finished.values()),
        tuple(everybody),
        tuple(open_tasks),
        tuple(asking),
        frozenset(kept),
        frozenset(changed),
    )


def agree(first: Sequence[LabelledBox], second: Sequence[LabelledBox], min_iou: float) -> bool:
    """Whether the boxes match one to one: same class, intersection over union of at least `min_iou`."""
    if len(first) != len(second):
        return False
    fits = [
        [j for j, b in enumerate(second) if a.class_name == b.class_name and iou(a.box, b.box) >= min_iou]
        for a in first
    ]
    # Augmenting paths (Kuhn, Naval Research Logistics 2, 1955): the nearest box may be the only match of another box.
    matched: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j in fits[i]:
            if j in tried:
                continue
            tried.add(j)
            if j not in matched or place(matched[j], tried):
                matched[j] = i
                return True
        return False

    return all(place(i, set()) for i in range(len(first)))


def _by_person(task: Task, data: LabelingData) -> list[Annotation]:
    """With overlap 1 the task's one annotation; else each person's latest one, in the order in which they began."""
    if data.overlap == 1:
        return [task.finished] if task.finished else []
    latest: dict[str, Annotation] = {}
    done = [annotation for annotation in task.annotations if not annotation.was_cancelled and annotation.people]
    for annotation in sorted(done, key=lambda annotation: (annotation.updated_at, int(annotation.id))):
        latest[annotation.people[0]] = annotation
    return sorted(latest.values(), key=lambda annotation: int(annotation.id))


def _choose(overlap: int, min_iou: float, drawn: Sequence[FinishedLabels]) -> tuple[FinishedLabels | None, int]:
    """Whose boxes go to the verifier, or None and how many more people are needed."""
    if overlap == 1:
        return (drawn[0], 0) if drawn else (None, 1)
    independent: list[FinishedLabels] = []
    people: set[str] = set()
    for item in drawn:
        if not people & set(item.annotation.people):
            independent.append(item)
            people |= set(item.annotation.people)
    if len(independent) < 2:
        return None, 2 - len(independent)
    first, second, *more = independent
    if agree(first.event.boxes, second.event.boxes, min_iou):
        chosen = first
    elif more:
        chosen = more[0]
    else:
        return None, 1
    others = tuple(item.annotation for item in drawn if item is not chosen)
    return FinishedLabels(chosen.task, chosen.data, chosen.annotation, chosen.event, chosen.tally, others), 0


def _labels(
    use_case: UseCase, project_id: int, task: Task, data: LabelingData, annotation: Annotation
) -> FinishedLabels:
    converted = from_regions(annotation.result, use_case.classes, data.width, data.height)
    updated_at = annotation.updated_at.isoformat(timespec="microseconds")
    suggested = _suggested(task, data)
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
        prelabel_model=suggested.version if suggested else None,
        project=str(project_id),
        task=str(task.id),
        annotation=annotation.id,
    )
    return FinishedLabels(task, data, annotation, event, converted.tally)


def _suggested(task: Task, data: LabelingData) -> Prediction | None:
    """The model's boxes that the labeler began with. A returned image begins with the former person's boxes instead."""
    if data.note:
        return None
    models = [prediction for prediction in task.predictions if prediction.version not in ("", SHOWN_BOXES)]
    return max(models, key=lambda prediction: prediction.id, default=None)


def _as_suggested(use_case: UseCase, item: FinishedLabels) -> bool:
    suggested = _suggested(item.task, item.data)
    assert suggested is not None
    boxes = from_regions(suggested.result, use_case.classes, item.data.width, item.data.height).boxes
    return boxes_digest(boxes) == boxes_digest(item.event.boxes)
