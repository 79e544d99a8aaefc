"""The second job: a second person looks at the boxes and approves or rejects them.

An approved row takes its boxes from the verification task, never from an annotation that is read again. So exactly the
boxes that a person verified are used. An annotation that somebody changed since is a new label, and is verified anew.

This job waits for people and works in passes. Each pass collects the finished drawings and decisions, makes the
verification tasks that are missing, and gives rejected images back to labeling. A run may be killed at any moment:
decisions are recorded before a task is opened again, and a pass starts from what it finds in Label Studio, so the next
run does what this one did not.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from components.labeling.conversion import to_regions
from components.labeling.decisions import (
    Decision,
    decision_events,
    read_decisions,
    verification_data_of,
)
from components.labeling.drawings import Drawings, FinishedLabels, labeling_data_of, read_drawings
from components.labeling.image_facts import ImageFacts
from components.labeling.known_events import KnownEvents
from components.labeling.label_studio import LabelStudioServer
from components.labeling.labeling_job import (
    Hold,
    Tenure,
    ask_others,
    log_aside,
    log_drawings,
    record,
    twins,
    unrecorded,
)
from components.labeling.problems import Problem, Refusal
from components.labeling.refusals import Refusals
from components.labeling.reopening import (
    Standing,
    imports_to_verify,
    shown_to_nobody,
    starts,
    tasks_to_open,
)
from components.labeling.task_data import VerificationData, verification_key
from components.labeling.tasks import NewTask, Task
from components.labeling.texts import TEXTS, Texts
from components.labeling.waiting import Waiting, wait_for_change
from components.stores.labels.renames import rename_boxes
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore, boxes_digest
from components.use_case import UseCase

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """labelled, approved, rejected, refused: of this run. open_labeling: labeling tasks that wait for a person.

    open_tasks: verification tasks without a decision, and rejected images that were not drawn again yet.
    label_version: of the label store, after the run.
    """

    labelled: int
    open_labeling: int
    approved: int
    rejected: int
    refused: int
    open_tasks: int
    label_version: int


@dataclass(frozen=True, slots=True)
class _Pass:
    """recorded: the events that this pass appended; drawings: of the labeling project, at its end."""

    recorded: tuple[LabelEvent, ...]
    drawings: Drawings
    refused: int
    open_tasks: int


def verify(
    use_case: UseCase,
    server: LabelStudioServer,
    labels: LabelStore,
    images: ImageFacts,
    refusals: Refusals,
    hold: Hold,
    waiting: Waiting,
) -> VerificationResult:
    """Collect drawings and decisions, make verification tasks and return rejected images.

    Waits until no labeling task and no verification is open, for at most `waiting.wait_s` seconds.

    Raises:
        LabelingError, LeaseError, LabelStoreError, ObjectStoreError: run it again; it continues where it stopped.
    """
    gives_up_at = waiting.now() + waiting.wait_s
    known = KnownEvents(labels, use_case.name)
    recorded: list[LabelEvent] = []
    refused = 0
    projects: tuple[int, int] | None = None
    while True:
        began = waiting.now()
        with hold() as tenure:
            if projects is None:
                projects = server.ensure_project(use_case, "labeling"), server.ensure_project(use_case, "verification")
            # Before anything is read: what changes while the pass reads is a change for the next one.
            marks = {project: server.mark(project) for project in projects} if waiting.wait_s > 0 else {}
            found = _reconcile(use_case, projects, server, labels, images, known, refusals, tenure)
        recorded += found.recorded
        refused += found.refused
        ended = waiting.now()
        if (found.open_tasks == 0 and not found.drawings.open) or ended >= gives_up_at:
            break
        wait_for_change(waiting, marks, server.mark, until=gives_up_at, pause_s=ended - began)
    log_aside(found.drawings)
    by_status = Counter(event.status for event in recorded)
    log_drawings(projects[0], found.drawings, [event.event_id for event in recorded])
    result = VerificationResult(
        labelled=by_status[LabelStatus.LABELLED],
        open_labeling=len(found.drawings.open),
        approved=by_status[LabelStatus.APPROVED],
        rejected=by_status[LabelStatus.REJECTED],
        refused=refused,
        open_tasks=found.open_tasks,
        label_version=labels.version(),
    )
    _log.info(
        "%d images were labelled, %d approved and %d rejected; %d labeling tasks and %d verifications are open",
        result.labelled,
        result.approved,
        result.rejected,
        result.open_labeling,
        result.open_tasks,
    )
    if refused:
        _log.warning("%d verifications were refused; the lines above say why", refused)
    return result


def _reconcile(
    use_case: UseCase,
    projects: tuple[int, int],
    server: LabelStudioServer,
    labels: LabelStore,
    images: ImageFacts,
    known: KnownEvents,
    refusals: Refusals,
    tenure: Tenure,
) -> _Pass:
    labeling, verification = projects
    known.refresh()

    # Decisions are read before labels, so that a label that was changed after its approval is a later event.
    mark = server.mark(verification)
    tasks = server.tasks(verification)
    named = (data.labelled_event for task in tasks if (data := verification_data_of(task)) is not None)
    decisions, refused = read_decisions(tasks, known.with_ids(named))
    texts = TEXTS[use_case.labeling.language]
    labeling_tasks = server.tasks(labeling)
    drawings = read_drawings(use_case, labeling, labeling_tasks)
    recorded = record(labels, known, drawings.events)
    about = {decision.data.sha256 for decision in decisions}
    approvals = known.of_images(about, [LabelStatus.APPROVED], project=str(verification))
    decided = unrecorded(known, decision_events(use_case, verification, decisions, approvals))
    recorded += record(labels, known, [_of_part(use_case, event, images) for event in decided])
    refused = [*refused, *drawings.refused]
    for refusal in refused:
        tenure.renew()
        _refuse(server, refusals, use_case, refusal)
    stands = known.in_doubt()
    returned_now = _return_rejected(server, use_case, decisions, drawings, tenure)
    returned_now += _return_reopened(use_case, server, labeling_tasks, stands, texts, tenure)
    if returned_now or drawings.refused:
        labeling_tasks = server.tasks(labeling)
        drawings = read_drawings(use_case, labeling, labeling_tasks)
        recorded += record(labels, known, drawings.events)
        stands = known.in_doubt()
    ask_others(server, drawings)

    if server.mark(verification) != mark:
        tasks = server.tasks(verification)
    imports = imports_to_verify(stands, labeling_tasks, use_case.classes, texts, images.can_be_shown)
    if hidden := shown_to_nobody(stands, use_case.classes, images.can_be_shown):
        _log.warning(
            "the imported boxes of %d images cannot be verified: no browser shows a TIFF without a rendition, or a "
            "class is none of the use case. Import these images again, which makes renditions, or with --class, or "
            "run kizu labels rename-class if a class has another name now; the first one is %s",
            len(hidden),
            hidden[0].image_uri,
        )
    tasks = _keep_tasks(server, use_case, verification, drawings, imports, tasks, known, tenure)
    # A decision that was made after the first read is not recorded yet, so its task counts as open.
    with_decision = {decision.task.id for decision in decisions}
    undecided = [task for task in tasks if verification_data_of(task) and task.id not in with_decision]
    returned = [task for task in drawings.open if task.data.get("note")]
    return _Pass(
        recorded=tuple(recorded),
        drawings=drawings,
        refused=len(refused),
        open_tasks=len(undecided) + len(returned),
    )


def _of_part(use_case: UseCase, event: LabelEvent, images: ImageFacts) -> LabelEvent:
    """An approval with the part that was told last, which may be another one than when its task was made."""
    if event.status is not LabelStatus.APPROVED or use_case.grouping.rule != "part":
        return event
    return replace(event, group=images.part(event.image_uri) or event.group)


def tasks_to_make(
    finished: Iterable[FinishedLabels],
    tasks: Iterable[Task],
    events: Iterable[LabelEvent],
    texts: Texts,
    former: Mapping[str, str] = MappingProxyType({}),
) -> list[VerificationData]:
    """The verification tasks that are missing, for finished labels without a decision.

    former: the former name of a class -> its name now; a decision on boxes of the one holds for the other.
    """
    present = {_key(task) for task in tasks}
    decided: dict[tuple[str, str], list[LabelEvent]] = {}
    for event in events:
        if event.status in (LabelStatus.APPROVED, LabelStatus.REJECTED):
            decided.setdefault((event.sha256, boxes_digest(rename_boxes(event.boxes, former))), []).append(event)
    wanted = []
    for item in finished:
        data = _verification_data(item, texts)
        later = decided.get((data.sha256, data.boxes_digest), [])
        if data.key not in present and not any(event.at >= item.annotation.updated_at for event in later):
            wanted.append(data)
    return wanted


def missing_imports(
    imports: Iterable[VerificationData], tasks: Iterable[Task], max_open: int
) -> list[VerificationData]:
    """The imported boxes without a task, in their order; as many as keep those that are open at `max_open` or fewer."""
    known = {data.key: task for task in tasks if (data := verification_data_of(task)) is not None}
    items = list(imports)
    open_now = sum(1 for item in items if item.key in known and not known[item.key].annotations)
    return [item for item in items if item.key not in known][: max(0, max_open - open_now)]


def outdated(
    finished: Iterable[FinishedLabels],
    tasks: Iterable[Task],
    imports: Iterable[VerificationData] = (),
    of_other_classes: Iterable[FinishedLabels] = (),
) -> list[Task]:
    """Verification tasks on which nobody has worked, and whose boxes are no longer those of the image.

    of_other_classes: drawings whose boxes this use case cannot say, so that nobody knows whether they changed.
    """
    current = {_drawn_key(item) for item in finished} | {data.key for data in imports}
    unclear = {item.data.sha256 for item in of_other_classes}
    return [
        task
        for task in tasks
        if (key := _key(task)) and key not in current and not task.annotations and task.data["sha256"] not in unclear
    ]


def _keep_tasks(
    server: LabelStudioServer,
    use_case: UseCase,
    project_id: int,
    drawings: Drawings,
    imports: Sequence[VerificationData],
    tasks: list[Task],
    known: KnownEvents,
    tenure: Tenure,
) -> list[Task]:
    settings = use_case.labeling
    present = {_key(task) for task in tasks}
    missing = [item for item in drawings.finished if _drawn_key(item) not in present]
    decided = (LabelStatus.APPROVED, LabelStatus.REJECTED)
    events = known.of_images({item.event.sha256 for item in missing}, decided)
    wanted = tasks_to_make(missing, tasks, events, TEXTS[settings.language], settings.former_classes)
    wanted += missing_imports(imports, tasks, settings.max_images_per_job)
    if wanted:
        new = [
            NewTask(data.to_data(), to_regions(data.boxes, data.width, data.height, read_only=True)) for data in wanted
        ]
        made = server.create_tasks(project_id, new, before_each=tenure.renew)
        _log.info("%d verification tasks were made in project %d", made, project_id)
        tasks = server.tasks(project_id)
    extra = _to_remove(drawings, imports, tasks)
    if extra:  # a mark does not follow drafts, so nothing is removed by a listing of before
        tasks = server.tasks(project_id)
        extra = _to_remove(drawings, imports, tasks)
    for task_id, why in extra.items():
        tenure.renew()
        _log.info("verification task %d is %s and is removed", task_id, why)
        server.delete_task(task_id)
    kept = [task for task in tasks if task.id not in extra]
    _show_missing_boxes(server, kept, tenure)
    return kept


def _to_remove(drawings: Drawings, imports: Iterable[VerificationData], tasks: Sequence[Task]) -> dict[int, str]:
    """Task id -> why the task is removed."""
    extra = {task.id: "outdated" for task in outdated(drawings.finished, tasks, imports, drawings.of_other_classes)}
    return extra | {task.id: "a twin" for task in twins(tasks, _key)}


def _show_missing_boxes(server: LabelStudioServer, tasks: Iterable[Task], tenure: Tenure) -> None:
    """Show the boxes in open tasks that lack them, as an interrupted import leaves them."""
    for task in tasks:
        data = verification_data_of(task)
        if data is None or not data.boxes or task.predictions or task.annotations:
            continue
        tenure.renew()
        _log.warning("verification task %d shows none of its %d boxes; they are put back", task.id, len(data.boxes))
        server.show_boxes(task, to_regions(data.boxes, data.width, data.height, read_only=True), task.data)


def _return_rejected(
    server: LabelStudioServer, use_case: UseCase, decisions: Iterable[Decision], drawings: Drawings, tenure: Tenure
) -> int:
    """Open the labeling task of each rejected image again, with the reason and the former boxes; returns how many."""
    returned = 0
    texts, former = TEXTS[use_case.labeling.language], use_case.labeling.former_classes
    rejected: dict[str, tuple[Decision, VerificationData]] = {}
    for decision in decisions:
        if not decision.approved:
            data = replace(decision.data, boxes=rename_boxes(decision.data.boxes, former))
            rejected[data.key] = decision, data
    for item in drawings.drawn:
        found = rejected.get(_drawn_key(item))
        if found is None:
            continue
        tenure.renew()
        decision, seen = found
        told: Mapping[str, Any] = {**item.data.to_data(), "note": texts.returned_because(decision.reason)}
        server.show_boxes(item.task, to_regions(seen.boxes, item.data.width, item.data.height), told)
        # All who drew it draw it again. The rejected annotation goes last, so that an interrupted run is repeated.
        for annotation in (*(a for a in item.task.annotations if a.id != item.annotation.id), item.annotation):
            server.delete_annotation(annotation.id)
        returned += 1
    return returned


def _return_reopened(
    use_case: UseCase,
    server: LabelStudioServer,
    tasks: Iterable[Task],
    stands: Mapping[str, Standing],
    texts: Texts,
    tenure: Tenure,
) -> int:
    """Open the labeling task of each reopened image again, with the boxes that held; returns how many."""
    returned = 0
    for task, event in tasks_to_open(tasks, stands):
        known = labeling_data_of(task)
        if known is None:
            continue
        tenure.renew()
        stands_so = {event.sha256: Standing(event, event)}
        start = starts(stands_so, use_case.classes, texts, use_case.labeling.former_classes)[event.sha256]
        server.show_boxes(
            task,
            to_regions(start.boxes, known.width, known.height),
            {**known.to_data(), "note": start.note, "group": event.group},
        )
        for annotation in task.annotations:  # an interrupted run leaves an annotation, and is repeated
            server.delete_annotation(annotation.id)
        returned += 1
    return returned


def _refuse(server: LabelStudioServer, refusals: Refusals, use_case: UseCase, refusal: Refusal) -> None:
    annotation = refusal.annotation
    _log.warning(
        "the verification in task %d by user(s) %s does not count: %s",
        refusal.task.id,
        ", ".join(annotation.people) if annotation else "-",
        refusal.problem,
    )
    refusals.record(use_case.name, refusal.task.id, annotation, refusal.problem)
    if refusal.problem is Problem.CHANGED_TASK:
        server.delete_task(refusal.task.id)  # a correct one is made in its place
    elif annotation is not None:
        server.delete_annotation(annotation.id)  # the task is open again, for another person


def _verification_data(item: FinishedLabels, texts: Texts) -> VerificationData:
    note = texts.count(item.event.boxes)
    return VerificationData.of(item.event, annotation=item.annotation.id, annotators=item.annotators, note=note)


def _drawn_key(item: FinishedLabels) -> str:
    return verification_key(item.event.sha256, item.annotation.id, item.event.boxes)


def _key(task: Task) -> str | None:
    data = verification_data_of(task)
    return data.key if data else None
