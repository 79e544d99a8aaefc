"""Images that go back to people, or that people set aside, through the real Label Studio and SeaweedFS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from components.labeling.project_config import APPROVE, UNUSABLE
from components.labeling.reopening import reopened, standings
from components.labeling.unlabelled import reopen_objected
from components.stores.labels.store import LabelEvent, LabelStatus
from components.stores.raw_images.images import RawImages
from inspection.documents import Capture, Reason
from inspection.geometry import Box, LabelledBox
from tests.components.labeling.conftest import HEIGHT, WIDTH

BOX = [LabelledBox("scratch", Box(10.0, 20.0, 30.5, 40.25))]
OTHER = [LabelledBox("dent", Box(50.0, 10.0, 20.0, 20.0))]


def reopen(world, sha256, reason="is this a hair?"):
    stands = standings(world.events())[sha256]
    world.labels.append([reopened(stands, reason, datetime.now(UTC))])


def approved_boxes(world):
    return {
        sha256: [box.class_name for box in event.boxes]
        for sha256, event in world.labels.latest_approved(world.use_case.name).items()
    }


def test_an_approved_image_is_drawn_and_verified_anew(world):
    """The labeler begins with the boxes that held; until the second approval the image is in no dataset."""
    (sha256,) = world.put_images(1)
    world.label()
    world.label_everything(BOX)
    world.verify()
    world.approve_everything()
    world.verify()
    reopen(world, sha256)
    assert approved_boxes(world) == {}
    assert [image.sha256 for image in world.find().images] == [sha256]
    for _ in range(2):
        assert (world.label().created, world.verify().open_labeling) == (0, 1)
    (task,) = world.labeling_tasks()
    assert task["annotations"] == []
    assert "is this a hair?" in task["data"]["note"]
    shown = [region["value"]["rectanglelabels"] for region in task["predictions"][0]["result"]]
    assert shown == [["scratch"]]
    world.labeler.draw(task["id"], OTHER)
    assert world.verify().open_tasks == 1
    world.approve_everything()
    assert world.verify().approved == 1
    assert approved_boxes(world) == {sha256: ["dent"]}


def test_an_image_that_is_set_aside_comes_back_only_when_it_is_reopened(world):
    """A skip with a reason is an event; the image is no candidate, and makes no open task."""
    (sha256,) = world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    reason = {
        "from_name": UNUSABLE, "to_name": "image", "type": "choices", "value": {"choices": ["blurred or dark"]},
    }  # fmt: skip
    world.labeler.submit(task["id"], [reason], was_cancelled=True)
    assert (world.label().open_tasks, world.find().images) == (0, ())
    assert [event.reason for event in world.events("unusable")] == ["blurred or dark"]
    reopen(world, sha256)
    assert world.verify().open_labeling == 1
    assert world.labeling_tasks()[0]["annotations"] == []
    world.label_everything(BOX)
    world.verify()
    world.approve_everything()
    assert world.verify().approved == 1


def imported(world, sha256, status):
    (image,) = [image for image in world.raw.list_images() if image.sha256 == sha256]
    return LabelEvent(
        event_id=f"{status:_<8}{sha256[:56]}", use_case=world.use_case.name, image_uri=image.uri, sha256=sha256,
        width=WIDTH, height=HEIGHT, boxes=tuple(BOX), status=LabelStatus(status), at=datetime.now(UTC),
        group=sha256, source="coco", reason="imported",
    )  # fmt: skip


def test_imported_boxes_go_to_the_verifier_and_what_is_rejected_to_the_labeler(world):
    """No labeling task is made for them; the labeler of a rejected image begins with the imported boxes."""
    good, bad = world.put_images(2)
    world.labels.append([imported(world, good, "labelled"), imported(world, bad, "labelled")])
    assert world.find().images == ()
    for _ in range(2):
        assert world.verify().open_tasks == 2
    tasks = {task["data"]["sha256"]: task["id"] for task in world.verification_tasks()}
    world.verifier.decide(tasks[good], APPROVE)
    world.verifier.decide(tasks[bad], "Reject", "there are two")
    assert (result := world.verify()).approved == 1
    assert result.rejected == 1
    assert approved_boxes(world) == {good: ["scratch"]}
    assert world.label().created == 1
    (task,) = world.labeling_tasks()
    assert task["data"]["sha256"] == bad
    assert "there are two" in task["data"]["note"]
    assert len(task["predictions"][0]["result"]) == 1


def test_an_operator_s_objection_reopens_an_approved_image_once(world):
    """An objection from before the approval was answered by it; one that comes later sends the image back."""
    (sha256,) = world.put_images(1)
    world.labels.append([imported(world, sha256, "approved")])
    (image,) = [image for image in world.raw.list_images() if image.sha256 == sha256]
    data = world.raw.fetch(image.uri, sha256)
    now = datetime.now(UTC)

    def look():
        return reopen_objected(world.use_case, world.raw, world.labels, [image], datetime.now(UTC))

    image = world.raw.image([image.uri.split("/", 3)[3]])
    assert look() == 0
    capture = Capture(
        capture_id="objection-1", sha256=sha256, device="import-tests", camera="none",
        captured_at=datetime.combine(image.day, datetime.min.time(), UTC), reason=Reason.OBJECTION,
    )  # fmt: skip
    RawImages(world.importer, world.settings.bucket("raw")).put(data, capture, site="tests")
    assert (look(), look()) == (1, 0)
    assert approved_boxes(world) == {}
    later = imported(world, sha256, "approved")
    world.labels.append(
        [LabelEvent(**{**{n: getattr(later, n) for n in later.__slots__}, "event_id": "9" * 64,
                       "at": now + timedelta(minutes=5)})]
    )  # fmt: skip
    assert look() == 0
    assert list(approved_boxes(world)) == [sha256]
