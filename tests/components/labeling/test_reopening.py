"""Images that go back to people: rules over label events and tasks, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.labeling.decisions import decision_events, read_decisions
from components.labeling.drawings import read_drawings
from components.labeling.labeling_job import tasks_to_make
from components.labeling.project_config import APPROVE, DECISION
from components.labeling.reopening import imports_to_verify, reopened, shown_to_nobody, standings, starts, tasks_to_open
from components.labeling.task_data import LabelingData
from components.labeling.tasks import Annotation, Task
from components.labeling.texts import TEXTS
from components.labeling.unlabelled import Batch, BatchImage
from components.labeling.verification_job import missing_imports, outdated
from components.stores.labels.store import LabelEvent, LabelStatus
from components.use_case import parse_use_case
from inspection.geometry import Box, LabelledBox

USE_CASE = parse_use_case(
    "name: tags\nclasses: [scratch]\nlabeling: {instructions: x, max_images_per_job: 2}\n"
    "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
)
TEXT = TEXTS["en"]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BOX = LabelledBox("scratch", Box(10.0, 20.0, 30.0, 40.0))


def sha(number):
    return f"{number:064x}"


def uri(number):
    return f"s3://kizu-raw/plant/import-a/2026/11/22/{sha(number)}.jpg"


def event(number, status, minutes=0, **more):
    return LabelEvent(
        event_id=f"{number:032x}{minutes:016x}{status:>16}"[:64], use_case="tags", image_uri=uri(number),
        sha256=sha(number), width=100, height=100, boxes=(BOX,), status=LabelStatus(status),
        at=NOON + timedelta(minutes=minutes), group="g", source="coco", **more,
    )  # fmt: skip


def shown(uri, sha256):
    return True


def no_tiff(uri, sha256):
    return not uri.endswith(".tif")


def labeling_task(number, *minutes, cancelled=False):
    data = LabelingData(
        image=uri(number), sha256=sha(number), width=100, height=100, group="g", reason="", device="d", day=""
    )
    acts = tuple(Annotation(str(at), (), ("1",), cancelled, NOON + timedelta(minutes=at)) for at in minutes)
    return Task(number, data.to_data(), acts, (), False)


def test_imported_boxes_that_nobody_trusted_become_verification_tasks():
    """The verifier gets the boxes as they were imported; nobody is asked about an image that is approved or drawn."""
    events = [
        event(1, "labelled"),
        event(2, "labelled"), event(2, "approved", 1),
        event(3, "labelled", task="8"),
        event(4, "labelled"),
        event(5, "labelled"), event(5, "rejected", 1),
        event(6, "approved"), event(6, "labelled", 1),
    ]  # fmt: skip
    found = imports_to_verify(standings(events), [labeling_task(4)], USE_CASE.classes, TEXT, shown)
    assert [(data.sha256, data.boxes, data.annotators) for data in found] == [(sha(1), (BOX,), ())]
    assert "1 scratch" in found[0].note


def test_imported_boxes_that_no_verifier_could_see_are_said_and_make_no_task():
    """A browser shows no TIFF, and Label Studio no class that the use case does not have."""
    tiff = replace(event(1, "labelled"), image_uri=uri(1).replace(".jpg", ".tif"))
    dent = replace(event(2, "labelled"), boxes=(LabelledBox("dent", BOX.box),))
    stands = standings([tiff, dent, event(3, "labelled"), replace(tiff, event_id="x", sha256=sha(4), task="1")])
    assert [data.sha256 for data in imports_to_verify(stands, [], USE_CASE.classes, TEXT, no_tiff)] == [sha(3)]
    assert shown_to_nobody(stands, USE_CASE.classes, no_tiff) == [tiff, dent]


def test_a_verifier_s_approval_of_imported_boxes_is_an_approved_label():
    """It has the imported boxes, no annotator, and the verifier's name."""
    events = [event(1, "labelled", annotation="job-9")]
    (data,) = imports_to_verify(standings(events), [], USE_CASE.classes, TEXT, shown)
    result = ({"from_name": DECISION, "type": "choices", "value": {"choices": [APPROVE]}},)
    task = Task(1, data.to_data(), (Annotation("9", result, ("2",), False, NOON + timedelta(days=1)),), (), False)
    decisions, refused = read_decisions([task], events)
    assert refused == []
    (approved,) = decision_events(USE_CASE, 2, decisions, events)
    assert (approved.status, approved.boxes, approved.annotator, approved.verifier) == ("approved", (BOX,), None, "2")


def test_imported_boxes_are_handed_to_verifiers_in_portions_and_once():
    """No more are open than the use case allows; one that is made or decided is not made again, nor removed."""
    events = [event(number, "labelled", number) for number in range(5)]
    imports = imports_to_verify(standings(events), [], USE_CASE.classes, TEXT, shown)
    first = missing_imports(imports, [], 2)
    assert [data.sha256 for data in first] == [sha(0), sha(1)]
    tasks = [Task(number, data.to_data(), (), (), False) for number, data in enumerate(first, start=1)]
    assert missing_imports(imports, tasks, 2) == []
    assert outdated([], tasks, imports) == []
    done = replace(tasks[0], annotations=(Annotation("1", (), ("2",), False, NOON),))
    assert [data.sha256 for data in missing_imports(imports, [done, tasks[1]], 2)] == [sha(2)]
    assert outdated([], tasks, imports[1:]) == [tasks[0]]


@pytest.mark.parametrize("held", ["approved", "unusable"])
def test_a_reopened_image_is_with_people_again_and_begins_with_the_boxes_that_held(held):
    """The approval, or the setting aside, holds no more; the labeler reads why."""
    before = [event(1, "labelled", task="3"), event(1, held, 1)]
    again = reopened(standings(before)[sha(1)], "the scratch is a hair", NOON + timedelta(days=1))
    stands = standings([*before, again])
    assert stands[sha(1)].is_with_people
    assert stands[sha(1)].decided == again
    begin = starts(stands, USE_CASE.classes, TEXT)
    assert begin[sha(1)].boxes == (BOX,)
    assert "the scratch is a hair" in begin[sha(1)].note


def test_reopening_twice_is_one_event_and_it_is_later_than_what_it_withdraws():
    """The same request makes the same event, even where the clock of who asks is behind."""
    stands = standings([event(1, "approved", 5)])[sha(1)]
    once = reopened(stands, "a", NOON)
    assert once.event_id == reopened(stands, "b", NOON + timedelta(days=1)).event_id
    assert once.at > stands.last.at
    objection = reopened(stands, "a", NOON, source="objection", by="capture-1")
    assert objection.event_id not in (once.event_id, reopened(stands, "a", NOON, source="objection", by="2").event_id)


def test_the_task_of_a_reopened_image_is_opened_until_somebody_draws_it_anew():
    """What people did before is taken out; what they did since stands. Skipped tasks are opened, too."""
    again = event(1, "reopened", 10)
    stands = standings([event(1, "approved", 5), again])
    assert tasks_to_open([labeling_task(1, 2, 4)], stands) == [(labeling_task(1, 2, 4), again)]
    assert tasks_to_open([labeling_task(1, 2, cancelled=True)], stands)
    assert tasks_to_open([labeling_task(1)], stands) == []
    assert tasks_to_open([labeling_task(1, 2, 11)], stands) == []
    approved = standings([event(1, "approved", 5), again, event(1, "approved", 12)])
    assert tasks_to_open([labeling_task(1, 2)], approved) == []


def test_skipped_tasks_do_not_keep_new_images_from_people():
    """As many new tasks are made as if the skipped ones were not there, and these stay open for another person."""
    skipped = [labeling_task(number, 1, cancelled=True) for number in range(1, 3)]
    drawings = read_drawings(USE_CASE, 1, skipped)
    images = tuple(
        BatchImage(sha256=sha(n), uri=uri(n), width=100, height=100, group="g", reason="", device="d", day="2026-11-22")
        for n in range(10, 20)
    )
    batch = Batch(use_case="tags", images=images)
    made = tasks_to_make(batch, skipped, drawings.handed_out, USE_CASE.labeling.max_images_per_job)
    assert [data.sha256 for data in made] == [sha(10), sha(11)]
    assert len(drawings.open) == 2
