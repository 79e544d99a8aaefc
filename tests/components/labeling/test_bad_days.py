"""Label Studio away, slow, or answering 500, in the middle of anything: the run says so and the next one repairs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from components.labeling import labeling_job, verification_job
from components.labeling.errors import LabelStudioAway
from components.labeling.image_facts import RawFacts
from components.labeling.label_studio import LabelStudioServer
from components.labeling.project_config import REJECT
from components.labeling.waiting import Waiting
from inspection.geometry import Box, LabelledBox
from tests.components.labeling.fault_proxy import FaultProxy

BOX = [LabelledBox("scratch", Box(10.0, 20.0, 30.5, 40.25))]


@pytest.fixture
def proxy(world) -> Iterator[FaultProxy]:
    with FaultProxy(world.url) as proxy:
        yield proxy


def run(world, proxy, *, retries=0, timeout_s=60.0):
    """Run the labeling and the verification job through the proxy, without the SDK's own retries."""
    batch = world.find()
    storage = world.server()._storage
    with LabelStudioServer(
        proxy.url, world.settings.required("label_studio_api_key"), storage, retries=retries, timeout_s=timeout_s
    ) as server:
        labeling_job.label(world.use_case, batch, server, world.labels, world.lease)
        facts = RawFacts(world.raw)
        return verification_job.verify(
            world.use_case, server, world.labels, facts, world.refusals, world.lease, Waiting(0.0)
        )


def spoil_every_request(world, proxy, fault, *, changes) -> int:
    """Runs until every request of the kind was spoilt once; how many runs ended with an error."""
    failed = 0
    for number in range(1, 100):
        proxy.spoil(number, fault, changes=changes)
        try:
            run(world, proxy)
        except LabelStudioAway as e:
            failed += "run this again" in str(e)
        if not proxy.spoilt:
            return failed
    raise AssertionError("a run that ends was expected")


@pytest.mark.slow
def test_a_fault_at_any_request_is_said_and_repaired_by_the_next_run(world, proxy):
    """Task by task and label by label as if nothing had been: at every request of every stage of a batch.

    What changes something is refused by a server at fault, and, which is worse, done without an answer.
    """
    images = world.put_images(4)
    failed = spoil_every_request(world, proxy, "away", changes=False)
    assert failed > 10
    stages = (lambda: None, world.label_everything, lambda: reject_one(world), world.label_everything, lambda: None)
    for people in (*stages, world.approve_everything):
        people()
        failed += spoil_every_request(world, proxy, "500", changes=True)
        failed += spoil_every_request(world, proxy, "lost", changes=True)
    run(world, proxy)
    assert failed > 20
    assert len({task["data"]["sha256"] for task in world.labeling_tasks()}) == len(world.labeling_tasks()) == 4
    keys = [task["data"]["key"] for task in world.verification_tasks()]
    assert len(keys) == len(set(keys)) == 5
    statuses = [str(event.status) for event in world.events()]
    assert {status: statuses.count(status) for status in set(statuses)} == {
        "labelled": 5, "rejected": 1, "approved": 4,
    }  # fmt: skip
    assert set(world.labels.latest_approved(world.use_case.name)) == set(images)


def reject_one(world):
    """The first of those that wait."""
    world.verifier.decide(world.verification_tasks()[0]["id"], REJECT, "look again")


def test_a_slow_server_is_waited_for_and_a_stuck_one_is_said(world, proxy):
    """A slow server is waited for up to the time limit of a request; after it, an error asks if it is running."""
    world.put_images(1)
    proxy.plan = lambda number, method, path: 0.2
    assert run(world, proxy).open_tasks == 0
    proxy.plan = lambda number, method, path: 2.0
    with pytest.raises(LabelStudioAway, match="is it running"):
        run(world, proxy, timeout_s=0.5)


def test_a_passing_fault_is_not_even_noticed(world, proxy):
    """The SDK asks again by itself, and what its second try doubled is swept away."""
    world.put_images(3)
    proxy.plan = lambda number, method, path: "500" if number == 3 else "ok"
    run(world, proxy, retries=2)
    assert len(world.labeling_tasks()) == 3


def test_an_annotation_that_is_cancelled_after_it_was_read_never_becomes_approved(world, proxy):
    """An annotation that was cancelled after it was read is never approved, and its task no longer counts as open."""
    world.put_images(2)
    run(world, proxy)
    first, second = world.labeling_tasks()
    annotation = world.labeler.draw(first["id"], BOX)
    world.labeler.draw(second["id"], BOX)
    assert run(world, proxy).open_tasks == 2
    world.labeler.http.patch(f"/api/annotations/{annotation}/", json={"was_cancelled": True}).raise_for_status()
    assert run(world, proxy).open_tasks == 1
    world.approve_everything()
    run(world, proxy)
    assert set(world.labels.latest_approved(world.use_case.name)) == {second["data"]["sha256"]}
