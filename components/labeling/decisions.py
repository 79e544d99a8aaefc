"""What verifiers decided, and which decisions count: rules over values, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from components.labeling.conversion import from_regions, other_picture, same_boxes
from components.labeling.label_studio import SOURCE
from components.labeling.problems import Problem, Refusal
from components.labeling.project_config import DECISION, REASON
from components.labeling.task_data import TaskDataError, VerificationData
from components.labeling.tasks import Annotation, Task
from components.labeling.texts import APPROVE, DECISIONS
from components.stores.labels.renames import renamed
from components.stores.labels.store import LabelEvent, LabelStatus, boxes_digest, event_id
from components.use_case import UseCase

MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Decision:
    """A verifier's decision on one verification task. reason: why it was rejected.

    prelabel_model: whose boxes the labeler began with.
    """

    task: Task
    data: VerificationData
    annotation: Annotation
    approved: bool
    reason: str | None
    labelled_at: datetime
    prelabel_model: str | None = None


def read_decisions(tasks: Iterable[Task], events: Iterable[LabelEvent]) -> tuple[list[Decision], list[Refusal]]:
    """The decisions that count, and those that do not. events: those that the tasks name, to compare the boxes."""
    drawn = {event.event_id: event for event in events if event.status is LabelStatus.LABELLED}
    decisions: list[Decision] = []
    refused: list[Refusal] = []
    for task in sorted(tasks, key=lambda task: task.id):
        if "labelled_event" not in task.data:
            continue  # a task that a person made by hand
        data = verification_data_of(task)
        source = drawn.get(data.labelled_event) if data else None
        if data is None or source is None or not _same(source, data):
            refused.append(Refusal(task, task.finished, Problem.CHANGED_TASK))
            continue
        annotation = task.finished
        if annotation is None:
            continue
        if set(annotation.people) & {*data.annotators, source.annotator}:
            refused.append(Refusal(task, annotation, Problem.SAME_PERSON))
            continue
        choice, reason = _choice(annotation.result)
        if choice is None:
            refused.append(Refusal(task, annotation, Problem.NO_DECISION))
            continue
        if choice == APPROVE and (problem := _against(annotation.result, data)) is not None:
            refused.append(Refusal(task, annotation, problem))
            continue
        decisions.append(Decision(task, data, annotation, choice == APPROVE, reason, source.at, source.prelabel_model))
    return decisions, refused


def decision_events(
    use_case: UseCase, project_id: int, decisions: Iterable[Decision], events: Iterable[LabelEvent]
) -> list[LabelEvent]:
    """The events of the decisions. A verifier who rejects what was approved before also withdraws the approval.

    A decision on older boxes does not count if it was changed after newer boxes of the image were approved.
    events: those that approve the images of the decisions in this project; others change nothing.

    A decision on boxes of a former class makes the event that a renaming would make of it.
    """
    approvals: dict[str, list[LabelEvent]] = {}
    for event in events:
        if event.status is LabelStatus.APPROVED and event.project == str(project_id):
            approvals.setdefault(event.sha256, []).append(event)
    made: list[LabelEvent] = []
    former = use_case.labeling.former_classes
    for decision in decisions:
        # Approvals from before these boxes were drawn say nothing of this task: its number may be that of another
        # task, in a Label Studio that was set up anew and counts from 1 again.
        found = approvals.get(decision.data.sha256, ())
        same_image = [event for event in found if event.at >= decision.labelled_at]
        if any(_task_number(event) > decision.task.id for event in same_image):
            continue
        if decision.approved:
            made.append(renamed(_event(use_case, project_id, decision, LabelStatus.APPROVED), former))
            continue
        made.append(renamed(_event(use_case, project_id, decision, LabelStatus.REJECTED), former))
        if any(_task_number(event) == decision.task.id for event in same_image):
            made.append(_event(use_case, project_id, decision, LabelStatus.DELETED))
    return made


def verification_data_of(task: Task) -> VerificationData | None:
    """The task's data, or None for a task that Kizu did not make, or that was changed."""
    try:
        return VerificationData.from_data(task.data)
    except TaskDataError:
        return None


def _event(use_case: UseCase, project_id: int, decision: Decision, status: LabelStatus) -> LabelEvent:
    data, annotation = decision.data, decision.annotation
    updated_at = annotation.updated_at.isoformat(timespec="microseconds")
    return LabelEvent(
        event_id=event_id(SOURCE, str(project_id), annotation.id, updated_at, status),
        use_case=use_case.name,
        image_uri=data.image,
        sha256=data.sha256,
        width=data.width,
        height=data.height,
        boxes=data.boxes,
        status=status,
        at=annotation.updated_at,
        group=data.group,
        source=SOURCE,
        annotator=data.annotators[0] if data.annotators else None,
        verifier=annotation.completed_by,
        reason=decision.reason,
        prelabel_model=decision.prelabel_model,
        project=str(project_id),
        task=str(decision.task.id),
        annotation=annotation.id,
    )


def _same(event: LabelEvent, data: VerificationData) -> bool:
    return (
        event.sha256 == data.sha256
        and event.image_uri == data.image
        and (event.width, event.height, event.group) == (data.width, data.height, data.group)
        and (event.annotation or "") == data.annotation
        and event.annotator == (data.annotators[0] if data.annotators else None)
        and boxes_digest(event.boxes) == data.boxes_digest
    )


def _against(result: Iterable[Any], data: VerificationData) -> Problem | None:
    """What in an approval contradicts it. A browser sends the boxes that it shows; an approval may leave them out."""
    drawn = [r for r in result if not (isinstance(r, Mapping) and r.get("from_name") in (DECISION, REASON))]
    if not drawn:
        return None
    if other_picture(drawn, data.width, data.height):
        return Problem.OTHER_PICTURE
    classes = sorted({box.class_name for box in data.boxes})
    found = from_regions(drawn, classes, data.width, data.height)
    if found.tally.left_out or not same_boxes(found.boxes, data.boxes):
        return Problem.CONTRADICTION
    return None


def _choice(result: Iterable[Any]) -> tuple[str | None, str | None]:
    """The decision, if there is exactly one, and the reason."""
    choices: list[str] = []
    reasons: list[str] = []
    for region in result:
        value = region.get("value") if isinstance(region, Mapping) else None
        if not isinstance(value, Mapping):
            continue
        if region.get("from_name") == DECISION:
            choices += [str(choice) for choice in value.get("choices") or ()]
        elif region.get("from_name") == REASON:
            text = value.get("text") or ()
            reasons += [text] if isinstance(text, str) else [str(line) for line in text]
    if len(choices) != 1 or choices[0] not in DECISIONS:
        return None, None
    reason = " ".join(" ".join(reasons).split())[:MAX_REASON]
    return DECISIONS[choices[0]], reason or None


def _task_number(event: LabelEvent) -> int:
    return int(event.task) if event.task and event.task.isdigit() else -1
