"""A webhook of Label Studio wakes a waiting run."""

from __future__ import annotations

import threading
import time

from components.labeling import verification_job
from components.labeling.image_facts import RawFacts
from components.labeling.label_studio import LabelStudioServer
from components.labeling.waiting import Waiting
from components.webhooks.receiver import SECRET_HEADER, HintReceiver, Webhook

SECRET = "a secret of some length"


def hooks(world):
    project = world.project("labeling")
    found = world.labeler.http.get("/api/webhooks/", params={"project": project}).raise_for_status().json()
    return [hook for hook in found if hook["project"] == project]


def server(world, hints):
    return LabelStudioServer(
        world.url, world.settings.required("label_studio_api_key"), world.server()._storage, hints=hints
    )


def label_and_approve(world):
    time.sleep(2.0)
    world.label_everything()
    while not world_has_tasks_to_verify(world):
        time.sleep(0.2)
    world.approve_everything()


def world_has_tasks_to_verify(world):
    with world.server() as connected:
        project = connected.find_project(world.use_case, "verification")
    return project is not None and world.verifier.tasks(project)


def test_a_finished_label_wakes_the_waiting_run(world):
    """The run collects the label long before its next poll. The webhook is removed once it is no longer configured."""
    world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    with HintReceiver("127.0.0.1:0", SECRET) as receiver:
        hints = Webhook(f"http://127.0.0.1:{receiver.port}/", SECRET)
        people = threading.Thread(target=label_and_approve, args=(world,))
        people.start()
        began = time.monotonic()
        with server(world, hints) as connected:
            result = verification_job.verify(
                world.use_case, connected, world.labels, RawFacts(world.raw), world.refusals, world.lease,
                Waiting(120.0, 100.0, sleep=receiver.wait),
            )  # fmt: skip
        took = time.monotonic() - began
        people.join()
        (hook,) = hooks(world)
        assert (hook["url"], hook["headers"]) == (hints.url, {SECRET_HEADER: SECRET})
        assert hook["send_payload"] is False
        # a secret that changes arrives at the one webhook that there is
        with server(world, Webhook(hints.url, SECRET * 2)) as connected:
            connected.ensure_project(world.use_case, "labeling")
        assert [hook["headers"] for hook in hooks(world)] == [{SECRET_HEADER: SECRET * 2}]
    assert (result.labelled, result.approved) == (1, 1)
    assert took < 60
    world.label()
    assert hooks(world) == []
    assert task["id"] == world.labeling_tasks()[0]["id"]
