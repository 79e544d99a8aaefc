"""Which decisions of verifiers count: rules over tasks as Label Studio gives them, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.labeling.conversion import to_regions
from components.labeling.decisions import decision_events, read_decisions
from components.labeling.project_config import APPROVE, DECISION, REJECT
from components.labeling.task_data import VerificationData
from components.labeling.tasks import Annotation, Task
from components.stores.labels.store import LabelEvent, LabelStatus
from components.use_case import parse_use_case
from inspection.geometry import Box, LabelledBox

USE_CASE = parse_use_case(
    "name: tags\nclasses: [scratch, dent]\nlabeling: {instructions: x}\n"
    "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
)
SHA = "ab" * 32
URI = f"s3://kizu-raw/plant/cam-1/2026/11/22/{SHA}.jpg"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BOX = LabelledBox("scratch", Box(10.0, 20.0, 30.0, 40.0))
LABELLED = LabelEvent(
    event_id="1" * 64, use_case="tags", image_uri=URI, sha256=SHA, width=100, height=100, boxes=(BOX,),
    status=LabelStatus.LABELLED, at=NOON, group="g", source="label-studio", annotator="1", annotation="7",
    project="1", task="1",
)  # fmt: skip


def decided(choice, *regions, number=3, minutes=5):
    """A verification task with one decision; regions: the boxes that the browser sent with it."""
    data = VerificationData(
        image=URI, sha256=SHA, width=100, height=100, group="g", boxes=(BOX,), labelled_event=LABELLED.event_id,
        annotation="7", annotators=("1",),
    )  # fmt: skip
    result = ({"from_name": DECISION, "type": "choices", "value": {"choices": [choice]}}, *regions)
    annotation = Annotation("9", result, ("2",), False, NOON + timedelta(minutes=minutes))
    return Task(number, data.to_data(), (annotation,), (), False)


def drawn(*boxes):
    return to_regions(boxes, 100, 100)


@pytest.mark.parametrize(
    "boxes",
    [
        (BOX, LabelledBox("scratch", Box(70.0, 70.0, 20.0, 20.0))),
        (LabelledBox("dent", BOX.box),),
        (LabelledBox("scratch", Box(15.0, 20.0, 30.0, 40.0)),),
    ],
    ids=["one more", "another class", "moved"],
)
def test_an_approval_of_boxes_that_the_verifier_changed_is_refused(boxes):
    """Approved would be what the verifier did not leave as it was; the task goes to another person."""
    decisions, refused = read_decisions([decided(APPROVE, *drawn(*boxes))], [LABELLED])
    assert decisions == []
    assert [refusal.problem for refusal in refused] == ["contradiction"]


def test_an_approval_with_the_boxes_as_they_were_shown_counts():
    """A browser sends the shown boxes with a decision, each side within half a pixel."""
    nearly = LabelledBox("scratch", Box(10.1, 19.9, 30.2, 40.0))
    for regions in ([], drawn(BOX), drawn(nearly)):
        decisions, refused = read_decisions([decided(APPROVE, *regions)], [LABELLED])
        assert (len(decisions), refused) == (1, [])


def test_a_rejection_may_show_what_is_missing():
    """Boxes of a verifier who rejects are not used, and contradict nothing."""
    decisions, _ = read_decisions([decided(REJECT, *drawn(BOX, BOX))], [LABELLED])
    assert [decision.approved for decision in decisions] == [False]


def test_an_approval_of_a_picture_of_another_size_is_refused():
    """The verifier saw the boxes on another picture."""
    regions = [{**region, "original_width": 60} for region in drawn(BOX)]
    _, refused = read_decisions([decided(APPROVE, *regions)], [LABELLED])
    assert [refusal.problem for refusal in refused] == ["other-picture"]


OLD = replace(
    LABELLED, event_id="2" * 64, status=LabelStatus.APPROVED, at=NOON - timedelta(days=90), verifier="2",
    project="2", task="57", annotation="40",
)  # fmt: skip


@pytest.mark.parametrize("number", [3, 57])
def test_an_approval_in_a_label_studio_that_was_set_up_anew_counts(number):
    """Task numbers begin again at 1, below those of approvals from before, or at the very number of one."""
    events = [LABELLED, OLD]
    decisions, _ = read_decisions([decided(APPROVE, number=number)], events)
    assert [event.status for event in decision_events(USE_CASE, 2, decisions, events)] == ["approved"]
    decisions, _ = read_decisions([decided(REJECT, number=number)], events)
    assert [event.status for event in decision_events(USE_CASE, 2, decisions, events)] == ["rejected"]


def test_a_decision_on_older_boxes_that_is_changed_later_does_not_count():
    """Newer boxes of the image were approved in a later task of the same Label Studio."""
    newer = replace(OLD, at=NOON + timedelta(minutes=1))
    decisions, _ = read_decisions([decided(APPROVE)], [LABELLED, newer])
    assert decision_events(USE_CASE, 2, decisions, [LABELLED, newer]) == []


def test_a_verifier_who_rejects_what_they_approved_withdraws_it():
    """The approval is of the same task, from after the boxes were drawn."""
    approved = replace(OLD, at=NOON + timedelta(minutes=1), task="3", annotation="9")
    decisions, _ = read_decisions([decided(REJECT)], [LABELLED, approved])
    made = decision_events(USE_CASE, 2, decisions, [LABELLED, approved])
    assert [event.status for event in made] == ["rejected", "deleted"]
