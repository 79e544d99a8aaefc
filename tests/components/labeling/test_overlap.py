"""Two people draw an image, a third decides where they differ: through the real Label Studio."""

from __future__ import annotations

import uuid

import pytest

from components.labeling.project_config import APPROVE
from demo.accounts import _sign_up
from deploy.access.identities import load
from inspection.geometry import Box, LabelledBox
from tests.components.labeling.conftest import person

HERE = [LabelledBox("scratch", Box(10.0, 20.0, 30.0, 40.0))]
NEARLY = [LabelledBox("scratch", Box(12.0, 22.0, 30.0, 40.0))]
ELSEWHERE = [LabelledBox("scratch", Box(120.0, 20.0, 30.0, 40.0))]


@pytest.fixture
def third(stack, world):
    """A third user of Label Studio."""
    email = f"third-{uuid.uuid4().hex[:8]}@kizu.local"
    token = _sign_up(stack.layout, load(stack.layout)["label_studio"]["token"], email, uuid.uuid4().hex)
    made = person(world.url, token)
    yield made
    made.http.close()


@pytest.fixture
def fourth(third, stack, world):
    """A fourth user of Label Studio, who has drawn nothing."""
    email = f"fourth-{uuid.uuid4().hex[:8]}@kizu.local"
    token = _sign_up(stack.layout, load(stack.layout)["label_studio"]["token"], email, uuid.uuid4().hex)
    made = person(world.url, token)
    yield made
    made.http.close()


def twice(world):
    world.use_case = world.use_case.model_copy(
        update={"labeling": world.use_case.labeling.model_copy(update={"overlap": 2})}
    )


def next_for(world, who):
    """The task that Label Studio's queue offers to a person, or None."""
    answer = who.http.get(f"/api/projects/{world.project('labeling')}/next")
    return answer.json()["id"] if answer.status_code == 200 else None


def test_two_who_agree_are_verified_by_a_third_and_by_none_of_them(world, third):
    """Label Studio itself offers the image to two people, and no more."""
    twice(world)
    world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    assert next_for(world, world.labeler) == task["id"]
    world.labeler.draw(task["id"], HERE)
    assert next_for(world, world.labeler) is None
    assert next_for(world, world.verifier) == task["id"]
    assert world.verify().open_tasks == 0
    world.verifier.draw(task["id"], NEARLY)
    assert next_for(world, third) is None
    assert (world.label().open_tasks, world.verify().open_tasks) == (0, 1)
    world.approve_everything()  # by the second of the two
    assert (world.verify().refused, world.events("approved")) == (1, [])
    third.decide(world.verification_tasks()[0]["id"], APPROVE)
    assert world.verify().approved == 1
    (approved,) = world.events("approved")
    assert (approved.annotator, approved.verifier) == (world.labeler.user_id, third.user_id)
    assert [event.annotator for event in world.events("labelled")] == [world.labeler.user_id, world.verifier.user_id]


def test_two_who_differ_bring_the_image_before_a_third_whose_boxes_are_verified(world, third, fourth):
    """After a rejection, all who drew the image draw it again."""
    twice(world)
    (sha256,) = world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    world.labeler.draw(task["id"], HERE)
    world.verifier.draw(task["id"], ELSEWHERE)
    assert next_for(world, third) is None
    for _ in range(2):
        assert (world.label().open_tasks, world.verify().open_tasks) == (1, 0)
    assert next_for(world, third) == task["id"]
    third.draw(task["id"], ELSEWHERE)
    assert world.verify().open_tasks == 1
    (asked,) = world.verification_tasks()
    assert set(asked["data"]["annotators"]) == {world.labeler.user_id, world.verifier.user_id, third.user_id}
    fourth.decide(asked["id"], "Reject", "there are two")
    assert world.verify().rejected == 1
    (task,) = world.labeling_tasks()
    assert (task["annotations"], task["data"]["note"]) == ([], "Returned by the verifier: there are two")
    world.labeler.draw(task["id"], HERE)
    third.draw(task["id"], HERE)
    world.verify()
    (asked,) = [task for task in world.verification_tasks() if not task["annotations"]]
    fourth.decide(asked["id"], APPROVE)
    assert world.verify().approved == 1
    assert set(world.labels.latest_approved(world.use_case.name)) == {sha256}
