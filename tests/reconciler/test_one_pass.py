"""A pass acts once, whoever else acts, wherever it ends, and whichever answer is lost. Fakes at ports, real claims."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from components.stores.objects.claims import MAX_ATTEMPTS, Claim, RunState
from components.stores.objects.leases import LeaseError
from components.stores.objects.s3 import ObjectStoreError
from reconciler.products import Served
from reconciler.schedules import CronSchedule
from reconciler.starts import StartError
from reconciler.view import SeenDesired, SeenVersion
from tests.reconciler.pass_world import NAME, NOW, PRODUCT, Killed, World

EVERYTHING = [
    ("deployment", f"deploy/{NAME}/3"),
    ("training", f"train/{NAME}/57"),
    ("labeling", f"label/{NAME}/20260302T11/finished-20260302T115700000000Z"),
]
TOLD = {"gate-failed", "waits-for-approval"}


@pytest.fixture
def world() -> World:
    world = World()
    world.all_there_is_to_do()
    return world


def until_quiet(world: World, loop=None) -> None:
    """Passes of a new process, far enough apart for a claim to be taken over, until nothing is done any more."""
    loop = loop or world.loop()
    for _ in range(6):
        world.wait(minutes=11)
        loop.run()
    world.runs.end()
    assert not any(report.does or report.failures for report in loop.run())


def test_a_pass_starts_what_follows_once_and_writes_why(world):
    """Later passes, and a new process, start nothing again, send nothing again and write nothing again."""
    loop = world.loop()
    (report,) = loop.run()
    assert world.runs.starts == EVERYTHING
    assert {message.topic for message in world.mail.taken} == TOLD
    assert report.failures == ()
    assert world.runs.arguments[0]["version"] == 3
    assert f'"name":"{NAME}"' in world.runs.arguments[0]["use_case"]
    kept = dict(world.store.objects)
    found = {(decision.act, decision.subject, decision.group) for decision in world.decisions()}
    assert found == {
        ("start-deployment", "run-1", "line"), ("start-training", "run-2", ""), ("start-labeling", "run-3", ""),
        ("notice", "gate-failed/r5", ""), ("notice", "waits-for-approval/4", ""),
    }  # fmt: skip
    assert any("version 3 is approved by ann" in decision.why for decision in world.decisions())
    loop.run()
    world.wait(minutes=1)
    world.loop().run()
    world.runs.end()
    world.loop().run()
    assert dict(world.store.objects) == kept
    assert len(world.runs.starts) == 3
    assert len(world.mail.taken) == 2


def test_explaining_changes_nothing_and_says_what_would_be_done_and_what_all_else_waits_for(world):
    """The same pass without `act` leaves the store, the runs and the mailbox as they are."""
    (report,) = world.loop().run(act=False)
    assert (world.store.objects, world.runs.starts, world.mail.taken) == ({}, [], [])
    said = "\n".join(report.does)
    for claim in ("deploy/metal-tag/3", "train/metal-tag/57", "label/metal-tag/20260302T11/finished-"):
        assert claim in said
    assert "would send the notice" in said
    world.loop().run()
    (report,) = world.loop().run(act=False)
    assert report.does == ()
    assert "run run-1 is at work under the claim deploy/metal-tag/3" in "\n".join(report.waits)


def kinds_of_ends(world: World) -> int:
    """How many calls of ports one whole pass makes."""
    other = World()
    other.all_there_is_to_do()
    other.faults.arm(0, after=False)
    other.loop().run()
    return other.faults.calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lost", [False, True], ids=["killed", "lost answer"])
def test_wherever_a_pass_ends_each_run_is_started_once_and_each_notice_is_sent(after, lost):
    """A pass is ended at each call of a port, before or after its effect, or the call's answer is lost.

    Later passes finish the work. A run is never started twice. A notice is sent again only where the process ended, or
    its answer was lost, between sending and noting. Each act has one decision.
    """
    probe = World()
    calls = kinds_of_ends(probe)
    assert calls > 30
    for at in range(1, calls + 1):
        world = World()
        world.all_there_is_to_do()
        world.faults.arm(at, after=after, lost=lost)
        loop = world.loop()
        try:
            loop.run()
        except Killed:
            loop = None
        except ObjectStoreError:
            pass
        world.faults.disarm()
        until_quiet(world, loop)
        assert sorted(world.runs.starts) == sorted(EVERYTHING), f"ended {'after' if after else 'before'} call {at}"
        assert {message.topic for message in world.mail.taken} == TOLD, f"call {at}"
        assert len(world.mail.taken) <= 3, f"call {at}"
        subjects = [(decision.act, decision.subject) for decision in world.decisions()]
        assert len(subjects) == len(set(subjects)) == 5, f"call {at}: {subjects}"


def claim_of(world: World, name: str) -> Claim:
    return Claim.from_json(world.store.objects[f"claims/{name}"])


def test_a_start_whose_answer_was_lost_is_noted_in_the_same_pass(world):
    """The run is looked for by its label at once, so that nobody waits ten minutes for what is at work."""
    world.says(training=None, annotated_at=None, waiting=None, run=None)
    answered = world.runs.start

    def lost(pipeline, arguments, claim, run):
        world.runs.start = answered
        world.runs._start(pipeline, arguments, claim)
        raise StartError("the answer was lost")

    world.runs.start = lost
    (report,) = world.loop().run()
    assert report.failures == ()
    assert claim_of(world, f"deploy/{NAME}/3").run_id == "run-1"
    assert [decision.subject for decision in world.decisions()] == ["run-1"]


def test_a_run_whose_start_nobody_noted_is_found_and_written_into_its_claim(world):
    """The process that started it was killed before it noted the run's id; ten minutes later the run is known."""
    world.says(training=None, annotated_at=None, waiting=None, run=None)
    world.runs.start = lambda *_: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        world.loop().run()
    del world.runs.start
    world.runs._start("deployment", {}, f"deploy/{NAME}/3")
    world.wait(minutes=11)
    world.loop().run()
    assert len(world.runs.starts) == 1
    assert claim_of(world, f"deploy/{NAME}/3").run_id == "run-1"
    assert [decision.subject for decision in world.decisions()] == ["run-1"]


def test_a_notice_is_normally_sent_once_wherever_a_pass_ends():
    """Of all the places where a pass may be killed, only those between sending and noting send a notice again."""
    again = 0
    calls = kinds_of_ends(World())
    for at in range(1, calls + 1):
        world = World()
        world.all_there_is_to_do()
        world.faults.arm(at, after=False)
        with suppress(Killed):
            world.loop().run()
        world.faults.disarm()
        until_quiet(world)
        again += len(world.mail.taken) > 2
    assert again == 2  # right before each of the two notices is noted


def test_two_replicas_that_act_at_once_start_each_run_once(world):
    """A second process makes a whole pass at each call of the first one's pass."""
    calls = kinds_of_ends(world)
    for at in range(1, calls + 1):
        world = World()
        world.all_there_is_to_do()
        first, second = world.loop(), world.loop()
        around, running = world.faults.around, []

        def meddled(call, *arguments, world=world, around=around, second=second, running=running, at=at, **named):
            result = around(call, *arguments, **named)
            if world.faults.calls == at and not running:
                running.append(True)
                second.run()
            return result

        world.faults.around = meddled
        first.run()
        world.faults.around = around
        until_quiet(world)
        assert sorted(world.runs.starts) == sorted(EVERYTHING), f"at call {at}"


def test_a_replica_that_another_one_followed_does_not_act(world):
    """The lease is renewed before each act; who lost it starts nothing and sends nothing."""

    def followed() -> None:
        raise LeaseError("another run took over the lease")

    with pytest.raises(LeaseError):
        world.loop(still_acting=followed).run()
    assert (world.runs.starts, world.mail.taken) == ([], [])


def test_a_run_that_fails_is_tried_three_times_and_then_a_person_is_told(world):
    """After the last attempt nothing starts the run by itself, and one notice names the pipeline and the claim."""
    world.says(training=None, annotated_at=None, waiting=None, run=None)
    loop = world.loop()
    for _ in range(6):
        loop.run()
        world.runs.end(RunState.FAILED)
        world.wait(minutes=11)
    assert world.runs.starts == EVERYTHING[:1] * MAX_ATTEMPTS
    (message,) = world.mail.taken
    assert (message.topic, message.subject) == ("gave-up", f"deploy/{NAME}/3")
    acts = [decision for decision in world.decisions() if decision.act == "start-deployment"]
    assert len(acts) == MAX_ATTEMPTS  # each attempt is an act of its own


def test_a_notice_that_is_not_taken_is_sent_at_the_next_pass(world):
    """Nothing is noted before a notice is taken, and other acts go on."""
    world.mail.refuse = True
    loop = world.loop()
    (report,) = loop.run()
    assert len(report.failures) == 2
    assert len(world.runs.starts) == 3
    world.mail.refuse = False
    loop.run()
    assert {message.topic for message in world.mail.taken} == TOLD


def test_without_a_way_to_send_a_notice_waits_until_there_is_one(world):
    """An installation without mail server loses no notice, and is told about none twice when it gets one."""
    (report,) = world.loop(notifier=None).run()
    assert "no way to send it is set" in "\n".join(report.waits)
    world.loop().run()
    world.loop().run()
    assert len(world.mail.taken) == 2


def test_without_anything_that_can_start_runs_a_pass_says_so(world):
    """On a cluster without the address of Kubeflow Pipelines no claim is made for a run that cannot start."""
    (report,) = world.loop(starter=None).run()
    assert "KIZU_KFP_ENDPOINT is not set" in "\n".join(report.waits)
    assert not any(key.startswith("claims/") for key in world.store.objects)


def test_a_newer_approval_is_deployed_while_the_older_run_is_at_work(world):
    """Each version has its own claim. The signer refuses the older of two that arrive in the wrong order."""
    loop = world.loop()
    loop.run()
    world.says(versions=(SeenVersion(6, "r6"), *world.servers.versions))
    loop.run()
    assert [claim for pipeline, claim in world.runs.starts if pipeline == "deployment"] == [
        f"deploy/{NAME}/3", f"deploy/{NAME}/6",
    ]  # fmt: skip


def test_a_version_that_is_desired_by_hand_is_not_deployed_again(world):
    """`kizu deploy` of a person needs no claim: what is desired already is not started."""
    world.says(state=SeenDesired(9, 3))
    world.loop().run()
    assert [pipeline for pipeline, _ in world.runs.starts] == ["training", "labeling"]


def test_new_labels_wait_for_the_training_that_is_at_work(world):
    """A second label version is not trained beside the first one."""
    loop = world.loop()
    loop.run()
    world.says(training=replace(world.servers.training, label_version=58))
    (report,) = loop.run()
    assert "run run-2 is at work under the claim train/metal-tag/57" in "\n".join(report.waits)
    assert len(world.runs.starts) == 3
    world.runs.end()
    loop.run()
    assert world.runs.starts[-1] == ("training", f"train/{NAME}/58")


def test_what_goes_wrong_with_one_run_costs_no_other_act(world):
    """A start that fails is told, and the runs and notices after it go on in the same pass."""

    class Refusing:
        def runs(self, pipeline):
            return world.runs

        def start(self, pipeline, arguments, claim, run):
            if pipeline == "deployment":
                raise StartError("quota exceeded")
            return world.runs.start(pipeline, arguments, claim, run)

    (report,) = world.loop(starter=Refusing()).run()
    assert [pipeline for pipeline, _ in world.runs.starts] == ["training", "labeling"]
    assert "quota exceeded" in report.failures[0]
    assert len(world.mail.taken) == 2
    assert world.now - NOW < timedelta(minutes=1)


def test_while_people_label_without_a_break_labeling_runs_keep_their_distance(world):
    """Each pass sees a newer annotation; a run starts once the quiet time after the last run's end is over."""
    world.says(training=None, versions=(), waiting=None, run=None)
    quiet = timedelta(seconds=PRODUCT.policy.labeling_quiet_s)
    loop, starts = world.loop(), []
    for _ in range(61):
        world.says(annotated_at=world.now)
        before = len(world.runs.starts)
        loop.run()
        if len(world.runs.starts) > before:
            starts.append(world.now)
        world.wait(seconds=10)
        world.runs.end()
    assert starts[0] == NOW
    assert len(starts) >= 4
    assert min(later - earlier for earlier, later in pairwise(starts)) >= quiet
    world.says(annotated_at=world.now)
    (report,) = world.loop().run(act=False)
    assert f"{quiet.seconds} s after the last run (people finished something" in "\n".join(report.waits)
    world.wait(seconds=(report.again_at - world.now).total_seconds())
    (report,) = world.loop().run(act=False)
    assert report.again_at is None
    assert "would start labeling" in report.does[0]


def test_a_labeling_run_of_the_schedule_waits_for_no_quiet_time(world):
    """A time that came due starts its run, also right after one that people's work started."""
    scheduled = replace(PRODUCT, policy=replace(PRODUCT.policy, labeling=CronSchedule("5 12 * * *", "UTC")))
    world.products.served = Served((scheduled,))
    world.says(training=None, versions=(), waiting=None, run=None, annotated_at=NOW)
    loop = world.loop()
    world.wait(minutes=4, seconds=59)
    loop.run()
    world.runs.end()
    world.wait(seconds=2)
    loop.run()
    assert world.runs.starts[-1] == ("labeling", f"label/{NAME}/20260302T12/schedule-20260302T1205Z")
