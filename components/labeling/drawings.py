"""Which drawings go to the verifier: rules over values, without a server.

With `overlap: 1` the latest annotation goes; that of an earlier person leaves an event.

With `overlap: 2` two people draw the image independently. (A
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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from components.labeling.conversion import Tally, from_regions, other_picture
from components.labeling.label_studio import SOURCE
from components.labeling.problems import Problem, Refusal
from components.labeling.project_config import SHOWN_BOXES, UNUSABLE
from components.labeling.task_data import LabelingData, TaskDataError
from components.labeling.tasks import Annotation, Prediction, Task
from components.labeling.texts import REASONS
from components.stores.labels.renames import rename_boxes, renamed
from components.stores.labels.store import LabelEvent, LabelStatus, boxes_digest, event_id
from components.use_case import UseCase
from inspection.geometry import LabelledBox, iou

_MAX_REASON: Final = 500


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
    ids of drawings that began with a model's boxes, and left them as they were or not. skipped: the open tasks that
    somebody skipped without a reason; others may still draw them, and they do not count as work that is handed out.
    unusable: an event for each image that a person set aside with a reason. refused: annotations that do not count.
    of_other_classes: drawings that would go to the verifier, but have boxes of a class that the use case does not have.
    The verifier would not see those boxes, so these images wait until the class has a name again.
    """

    finished: tuple[FinishedLabels, ...]
    drawn: tuple[FinishedLabels, ...]
    open: tuple[Task, ...]
    asking: tuple[tuple[Task, int], ...] = ()
    suggested_kept: frozenset[str] = frozenset()
    suggested_changed: frozenset[str] = frozenset()
    skipped: tuple[Task, ...] = ()
    unusable: tuple[LabelEvent, ...] = ()
    refused: tuple[Refusal, ...] = ()
    of_other_classes: tuple[FinishedLabels, ...] = ()

    @property
    def handed_out(self) -> int:
        """How many open tasks count towards the cap of open tasks."""
        return len(self.open) - len(self.skipped)

    @property
    def events(self) -> list[LabelEvent]:
        """A `labelled` event for each person's annotation, an `unusable` one for each image that was set aside."""
        return [*(item.event for item in self.drawn), *self.unusable]


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
    skipped: list[Task] = []
    unusable: list[LabelEvent] = []
    refused: list[Refusal] = []
    for task in sorted(tasks, key=lambda task: task.id):
        data = labeling_data_of(task)
        if data is None or data.sha256 in finished:
            continue
        acts = _acts(use_case, task, data)
        refused += acts.refused
        drawn = [_labels(use_case, project_id, task, data, annotation) for annotation in _by_person(acts.drawn)]
        chosen, missing = _choose(data.overlap, use_case.labeling.agreement_iou, drawn)
        for item in drawn:
            if item.event.prelabel_model is not None:
                (kept if _as_suggested(use_case, item) else changed).add(item.event.event_id)
        everybody += drawn
        if chosen is None and acts.set_aside is not None:
            unusable.append(_unusable(use_case, project_id, task, data, *acts.set_aside))
        elif chosen is None:
            open_tasks.append(task)
            if acts.skipped and not drawn:
                skipped.append(task)
            annotations = sum(1 for annotation in task.annotations if not annotation.was_cancelled)
            if drawn and (task.overlap or 0) < annotations + missing:
                asking.append((task, annotations + missing))
        else:
            finished[data.sha256] = chosen
    return Drawings(
        tuple(item for item in finished.values() if not item.tally.unknown_class),
        tuple(everybody),
        tuple(open_tasks),
        tuple(asking),
        frozenset(kept),
        frozenset(changed),
        tuple(skipped),
        tuple(unusable),
        tuple(refused),
        tuple(item for item in finished.values() if item.tally.unknown_class),
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


@dataclass(frozen=True, slots=True)
class _Acts:
    """What people did with a task. set_aside: the annotation that sets the image aside, and its reason."""

    drawn: tuple[Annotation, ...]
    skipped: bool
    set_aside: tuple[Annotation, str] | None
    refused: tuple[Refusal, ...]


def _acts(use_case: UseCase, task: Task, data: LabelingData) -> _Acts:
    """The annotations of a task by what they say, in the order in which people finished them.

    Boxes together with a reason why the image cannot be labelled contradict each other, unless the person skipped the
    image: Label Studio sends the boxes of a skipped one, too.
    """
    drawn: list[Annotation] = []
    refused: list[Refusal] = []
    set_aside: tuple[Annotation, str] | None = None
    skipped = False
    for annotation in sorted(task.annotations, key=lambda a: (a.updated_at, int(a.id))):
        if not annotation.people:
            continue
        reason = _reason(annotation.result)
        if annotation.was_cancelled:
            skipped = True
            set_aside = (annotation, reason) if reason is not None else set_aside
            continue
        boxes = [region for region in annotation.result if not _is_reason(region)]
        if other_picture(boxes, data.width, data.height):
            refused.append(Refusal(task, annotation, Problem.OTHER_PICTURE))
        elif reason is None:
            drawn.append(annotation)
        elif boxes:
            refused.append(Refusal(task, annotation, Problem.CONTRADICTION))
        else:
            set_aside = (annotation, reason)
    return _Acts(tuple(drawn), skipped, set_aside, tuple(refused))


def _is_reason(region: Any) -> bool:
    return isinstance(region, Mapping) and region.get("from_name") == UNUSABLE


def _reason(result: Iterable[Any]) -> str | None:
    """Why a person says that the image cannot be labelled."""
    for region in result:
        value = region.get("value") if _is_reason(region) else None
        for choice in value.get("choices") or () if isinstance(value, Mapping) else ():
            return REASONS.get(str(choice), str(choice)[:_MAX_REASON])
    return None


def _unusable(
    use_case: UseCase, project_id: int, task: Task, data: LabelingData, annotation: Annotation, reason: str
) -> LabelEvent:
    updated_at = annotation.updated_at.isoformat(timespec="microseconds")
    return LabelEvent(
        event_id=event_id(SOURCE, str(project_id), annotation.id, updated_at, LabelStatus.UNUSABLE),
        use_case=use_case.name,
        image_uri=data.image,
        sha256=data.sha256,
        width=data.width,
        height=data.height,
        boxes=(),
        status=LabelStatus.UNUSABLE,
        at=annotation.updated_at,
        group=data.group,
        source=SOURCE,
        annotator=annotation.completed_by,
        reason=reason,
        project=str(project_id),
        task=str(task.id),
        annotation=annotation.id,
    )


def _by_person(drawn: Iterable[Annotation]) -> list[Annotation]:
    """Each person's latest annotation, in the order in which they began. drawn: by time."""
    latest = {annotation.people[0]: annotation for annotation in drawn}
    return sorted(latest.values(), key=lambda annotation: int(annotation.id))


def _choose(overlap: int, min_iou: float, drawn: Sequence[FinishedLabels]) -> tuple[FinishedLabels | None, int]:
    """Whose boxes go to the verifier, or None and how many more people are needed."""
    if overlap == 1:
        latest = max(drawn, key=lambda item: (item.event.at, int(item.annotation.id)), default=None)
        return latest, 0 if drawn else 1
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
    result = [region for region in annotation.result if not _is_reason(region)]
    converted = from_regions(result, _readable(use_case), data.width, data.height)
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
    return FinishedLabels(task, data, annotation, renamed(event, use_case.labeling.former_classes), converted.tally)


def _readable(use_case: UseCase) -> tuple[str, ...]:
    """The classes that a drawing may have: those of the use case, and those that they were before a renaming."""
    return (*use_case.classes, *use_case.labeling.former_classes)


def _suggested(task: Task, data: LabelingData) -> Prediction | None:
    """The model's boxes that the labeler began with. A returned image begins with the former person's boxes instead."""
    if data.note:
        return None
    models = [prediction for prediction in task.predictions if prediction.version not in ("", SHOWN_BOXES)]
    return max(models, key=lambda prediction: prediction.id, default=None)


def _as_suggested(use_case: UseCase, item: FinishedLabels) -> bool:
    suggested = _suggested(item.task, item.data)
    assert suggested is not None
    boxes = from_regions(suggested.result, _readable(use_case), item.data.width, item.data.height).boxes
    return boxes_digest(rename_boxes(boxes, use_case.labeling.former_classes)) == boxes_digest(item.event.boxes)
