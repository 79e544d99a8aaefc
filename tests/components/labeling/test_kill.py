"""A labeling run that is killed ten times at random moments ends like one that never was."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace

import pytest

from components.labeling import steps
from components.labeling.project_config import APPROVE, REJECT
from components.labeling.unlabelled import save_batch
from components.settings import settings
from components.stores.objects.leases import LeaseRules
from components.use_case import parse_use_case
from inspection.geometry import Box, LabelledBox
from tests.components.labeling.conftest import new_world

IMAGES = 12
KILLS = 10
HASTY = [LabelledBox("dent", Box(50.0, 10.0, 20.0, 20.0))]
# A killed run holds its lease until it expires.
RULES = LeaseRules(ttl_s=3.0, patience_s=90.0, poll_s=0.1)
# A process of its own for each run, forked from one that has loaded the modules and opened nothing.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["components.labeling.steps", "components.stores.models.champion"])


def run_steps(environment, use_case, batch_uri, began):
    """The pipeline's steps, in a process with the identity of the pipeline."""
    os.environ.update(environment)
    began.set()
    chosen = parse_use_case(use_case)
    steps.label(settings(), chosen, batch_uri, rules=RULES)
    steps.verify(settings(), chosen, 0, rules=RULES)


class Run:
    """A labeling run in a process of its own. It begins to count as soon as its modules are loaded."""

    def __init__(self, world, environment, batch_uri):
        began = _PROCESSES.Event()
        self.process = _PROCESSES.Process(
            target=run_steps, args=(environment, world.use_case.to_json(), batch_uri, began)
        )
        self.process.start()
        assert began.wait(120)
        self.began_at = time.monotonic()

    def whole(self) -> float:
        """To the end; seconds."""
        self.process.join(200)
        assert self.process.exitcode == 0
        return time.monotonic() - self.began_at

    def killed_after(self, seconds) -> bool:
        """kill -9; whether it was still at work."""
        self.process.join(seconds)
        at_work = self.process.is_alive()
        if at_work:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        return at_work


def people_work(world):
    """Two people who do the same whatever happened before: some pictures are drawn wrongly, rejected and drawn anew."""
    with world.server() as server:
        labeling = server.find_project(world.use_case, "labeling")
        verification = server.find_project(world.use_case, "verification")
    for task in world.labeler.tasks(labeling) if labeling else []:
        if not task["annotations"]:
            sha256 = task["data"]["sha256"]
            hasty = int(sha256, 16) % 3 == 0 and not task["data"]["note"]
            world.labeler.draw(task["id"], HASTY if hasty else world.truth[sha256])
    for task in world.verifier.tasks(verification) if verification else []:
        if not task["annotations"]:
            hasty = [box["class"] for box in task["data"]["boxes"]] == ["dent"]
            world.verifier.decide(task["id"], *((REJECT, "look again") if hasty else (APPROVE,)))


@pytest.mark.slow
def test_ten_random_kills_end_in_the_same_rows_as_none(stack, world):
    """Killed runs end with the label rows of an undisturbed run, one task for each image and one event for each act."""
    seed = int(os.environ.get("KIZU_SEED") or random.randrange(2**32))
    print(f"KIZU_SEED={seed}")
    chance = random.Random(seed)
    environment = stack.environment("labeling")
    undisturbed = replace(new_world(stack, f"{world.use_case.name}-b"), truth=world.truth)
    images = world.put_images(IMAGES)

    durations = whole_runs(undisturbed, environment)
    uri = save_batch(world.store, world.settings.bucket("state"), world.find())
    kills = []
    for _ in range(5 * KILLS):
        # Now and then a run is done before its moment comes: that is no kill.
        moment = chance.uniform(0.0, min(durations))
        if Run(world, environment, uri).killed_after(moment):
            kills.append(round(moment, 2))
        people_work(world)
        if len(kills) == KILLS:
            break
    print(f"killed after {kills} s; a whole run takes {min(durations):.1f} to {max(durations):.1f} s")
    assert len(kills) == KILLS
    whole_runs(world, environment)

    assert world.rows() == undisturbed.rows()
    assert len(world.rows()) >= 2 * IMAGES
    assert len(world.events()) == len(undisturbed.events())
    for one in (world, undisturbed):
        for tasks in (one.labeling_tasks(), one.verification_tasks()):
            keys = [task["data"].get("key", task["data"]["sha256"]) for task in tasks]
            assert len(keys) == len(set(keys))
        assert {task["data"]["sha256"] for task in one.labeling_tasks()} == set(images)
    undisturbed.labeler.http.close()
    undisturbed.verifier.http.close()


def whole_runs(world, environment) -> list[float]:
    """Runs, and people's answers to each, until every image is approved; how long each took, seconds."""
    uri = save_batch(world.store, world.settings.bucket("state"), world.find())
    durations = []
    while not durations or len(world.labels.latest_approved(world.use_case.name)) < IMAGES:
        assert len(durations) < 8
        durations.append(Run(world, environment, uri).whole())
        people_work(world)
    return durations
