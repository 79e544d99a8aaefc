"""A class that gets another name: which labels follow it, and what a later event keeps."""

from __future__ import annotations

import pytest

from components.stores.labels.renames import plan_renaming, reason_for_people, rename, rename_boxes, renamed
from components.stores.labels.store import LabelStatus, LabelStore
from inspection.geometry import Box, LabelledBox
from tests.components.stores.labels.label_events import event

PLACE = Box(1.0, 2.0, 3.0, 4.0)
OLD = (LabelledBox("scratch", PLACE), LabelledBox("dent", PLACE))
NEW = (LabelledBox("hairline", PLACE), LabelledBox("dent", PLACE))


def image(number, status, minutes=0, boxes=OLD, **more):
    return event(
        "tags", f"{number}-{status}-{minutes}", sha256=f"{number:064x}", status=LabelStatus(status), minutes=minutes,
        boxes=boxes, **more,
    )  # fmt: skip


@pytest.fixture
def labels(tmp_path):
    return LabelStore(str(tmp_path / "labels"), {})


def classes(boxes):
    return [box.class_name for box in boxes]


def test_a_renamed_label_keeps_everything_but_the_name(labels):
    """Status, people, part, source and trust stay; the reason names the event that it came from, and time moves on."""
    before = image(1, "approved", annotator="1", verifier="2", reason="imported; status trusted", task="7", project="3")
    labels.append([before])
    assert sum(rename(labels, "tags", plan_renaming(labels, "tags", "scratch", "hairline"))) == 1
    after = labels.latest_approved("tags")[before.sha256]
    assert after.boxes == NEW
    assert after.at > before.at
    assert before.event_id in after.reason
    assert reason_for_people(after.reason) == "imported; status trusted"
    same = ("status", "annotator", "verifier", "group", "source", "task", "project", "image_uri", "width", "height")
    assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}
    assert labels.events(use_case="tags")[0] == before


def test_only_what_is_in_force_is_renamed(labels):
    """Approved labels, drawings and imports that wait, and what a labeler begins with; not what was overruled since."""
    labels.append([
        image(1, "approved"), image(1, "labelled", 5),
        image(2, "labelled", task="1"), image(2, "approved", 5, boxes=()),
        image(3, "approved"), image(3, "deleted", 5),
        image(4, "approved"), image(4, "reopened", 5),
        image(5, "labelled"),
        image(6, "labelled"), image(6, "rejected", 5, reason="there are two"),
        image(7, "approved"), image(7, "unusable", 5, boxes=()),
        event("discs", "x", boxes=OLD),
    ])  # fmt: skip
    plan = plan_renaming(labels, "tags", "scratch", "hairline")
    assert plan.events == tuple(
        sorted(f"tags-{n}" for n in ("1-approved-0", "1-labelled-5", "4-reopened-5", "5-labelled-0", "6-rejected-5"))
    )
    assert (plan.images, plan.boxes, plan.by_status["labelled"]) == (4, 5, 2)
    list(rename(labels, "tags", plan))
    assert plan_renaming(labels, "tags", "scratch", "hairline").events == ()
    assert classes(labels.events(use_case="discs")[0].boxes) == ["scratch", "dent"]
    (rejected,) = [e for e in labels.events(use_case="tags", sha256=f"{6:064x}") if classes(e.boxes)[0] == "hairline"]
    assert reason_for_people(rejected.reason) == "there are two"


def test_a_renaming_that_was_killed_between_two_batches_is_completed_without_duplicates(labels, monkeypatch):
    """The second run takes what is left, asks for no --merge, and the events are those of a single run."""
    labels.append([image(number, "approved") for number in range(5)])
    monkeypatch.setattr("components.stores.labels.renames._BATCH", 2)
    plan = plan_renaming(labels, "tags", "scratch", "hairline")
    next(rename(labels, "tags", plan))
    again = plan_renaming(labels, "tags", "scratch", "hairline")
    assert (len(again.events), again.begun, again.merges) == (3, True, 0)
    list(rename(labels, "tags", again))
    list(rename(labels, "tags", plan))  # a second program with the same plan
    assert len(labels.events(use_case="tags")) == 10
    assert {box for e in labels.latest_approved("tags").values() for box in e.boxes} == set(NEW)


def test_images_that_have_the_new_class_already_are_counted(labels):
    """Those that nobody renamed: two classes would become one."""
    labels.append([image(1, "approved"), image(2, "approved", boxes=NEW), image(3, "labelled", boxes=NEW)])
    plan = plan_renaming(labels, "tags", "scratch", "hairline")
    assert (plan.merges, plan.begun, plan.classes) == (2, False, ("dent", "hairline", "scratch"))


def test_joined_boxes_of_one_place_are_one_box():
    """As a person who draws the same class at the same place again makes one box."""
    assert classes(rename_boxes(OLD, {"scratch": "dent"})) == ["dent"]
    assert renamed(image(1, "approved", boxes=NEW), {"scratch": "dent"}) == image(1, "approved", boxes=NEW)


def test_an_empty_store_has_nothing_to_rename(labels):
    """Neither without a table nor without a label of the use case."""
    assert plan_renaming(labels, "tags", "a", "b").events == ()
    labels.append([event("discs", "x", boxes=OLD)])
    assert plan_renaming(labels, "tags", "scratch", "b").classes == ()
