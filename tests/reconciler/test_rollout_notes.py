"""What is kept and told of a rollout's steps, read from the desired state that the signer published."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from inspection.documents import AgentOrder, DesiredState, Wave
from inspection.rollout import PausedFor, RolloutPlan, RolloutState, SoftwarePlan, Stage
from reconciler.rollout_notes import note_of, software_note_of
from reconciler.view import Act, Topic
from tests.reconciler.pass_world import NAME, World

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
PLAN = RolloutPlan(
    version=4, release_digest=NEW, former_digest=OLD, stages=(Stage(devices=("line1",)), Stage(percent=100.0)),
    open_stage=0, opened_at=AT, began_at=AT,
)  # fmt: skip


def desired(sequence: int = 7, **changes) -> DesiredState:
    return DesiredState(
        sequence=sequence, use_case=NAME, waves=(Wave(release_digest=OLD, percent=100.0),), probation_s=1.0,
        rollout=replace(PLAN, **changes),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "act", "topic"),
    [
        (desired(), None, None),
        (desired(open_stage=1), Act.ADVANCE, None),
        (desired(open_stage=1, state=RolloutState.DONE), Act.ADVANCE, None),
        (desired(state=RolloutState.STOPPED, by="reconciler", reason="worse"), Act.STOP, Topic.ROLLOUT_STOPPED),
        (desired(state=RolloutState.STOPPED, by="ann", reason="recall"), None, None),
        (desired(state=RolloutState.PAUSED, paused_for=PausedFor.INCONCLUSIVE), Act.PAUSE, Topic.ROLLOUT_PAUSED),
        (desired(state=RolloutState.PAUSED, paused_for=PausedFor.BY_HAND), Act.PAUSE, Topic.ROLLOUT_PAUSED),
        (desired(state=RolloutState.PAUSED, paused_for=PausedFor.PERSON), None, None),
        (replace(desired(), rollout=None), None, None),
    ],
)
def test_only_what_the_reconciler_did_is_noted_and_only_what_needs_a_person_is_told(state, act, topic):
    """What a person did themselves is neither decided nor told by the reconciler."""
    note = note_of("line", state, "en")
    assert (note.act if note else None) == act
    assert (note.notice.topic if note and note.notice else None) == topic


def test_a_stop_is_told_once_with_its_reason_and_devices_also_by_a_new_process():
    """The step was taken by a process that ended before it wrote anything: the next pass writes and tells."""
    world = World()
    state = desired(state=RolloutState.STOPPED, by="reconciler", reason="2 of 5 failed", devices=("line1", "line2"))
    for _ in range(2):
        world.loop().note_rollouts([("line", state)])
    (message,) = world.mail.taken
    assert message.title == f"{NAME}: the rollout of version 4 was stopped"
    assert "2 of 5 failed (line1, line2)" in message.text
    found = sorted((decision.act, decision.group) for decision in world.decisions())
    assert found == [("notice", ""), ("stop", "line")]


def test_each_pause_and_each_stage_is_a_decision_of_its_own():
    """A rollout that is paused again after a person resumed it is told again."""
    world = World()
    loop = world.loop()
    paused = {"state": RolloutState.PAUSED, "paused_for": PausedFor.INCONCLUSIVE}
    for state in (desired(7, **paused), desired(8, open_stage=1), desired(9, open_stage=1, **paused)):
        loop.note_rollouts([("line", state)])
    assert [message.topic for message in world.mail.taken] == ["rollout-paused"] * 2
    acts = sorted(decision.act for decision in world.decisions() if decision.act != "notice")
    assert acts == ["advance", "pause", "pause"]


def software(sequence: int = 7, **changes) -> DesiredState:
    plan = SoftwarePlan(
        version="0.2.0", release_digest=NEW, former_digest=OLD, stages=PLAN.stages, open_stage=0, opened_at=AT,
        began_at=AT, by="ann",
    )  # fmt: skip
    agent = AgentOrder(waves=(Wave(release_digest=OLD, percent=100.0),), since=1, rollout=replace(plan, **changes))
    return replace(desired(sequence), rollout=None, agent=agent)


@pytest.mark.parametrize(
    ("state", "act", "topic"),
    [
        (software(), None, None),
        (software(state=RolloutState.WAITING), None, None),
        (software(by="reconciler"), Act.ADVANCE, None),
        (software(by="reconciler", open_stage=1, state=RolloutState.DONE), Act.ADVANCE, None),
        (software(by="reconciler", state=RolloutState.STOPPED, reason="bad"), Act.STOP, Topic.SOFTWARE_STOPPED),
        (software(state=RolloutState.STOPPED, reason="recall"), None, None),
        (software(state=RolloutState.PAUSED, paused_for=PausedFor.INCONCLUSIVE), Act.PAUSE, Topic.SOFTWARE_PAUSED),
        (software(state=RolloutState.PAUSED, paused_for=PausedFor.PERSON), None, None),
        (desired(), None, None),
    ],
)
def test_a_step_of_the_agents_software_is_noted_and_told_as_that_of_a_release(state, act, topic):
    """What a person did themselves is neither decided nor told."""
    note = software_note_of("line", state, "en")
    assert (note.act if note else None) == act
    assert (note.notice.topic if note and note.notice else None) == topic


def test_a_stop_of_software_is_told_once_though_the_rollout_of_a_release_goes_on():
    """The sequence counts steps of both; the notice is about this rollout."""
    world = World()
    stopped = {"by": "reconciler", "state": RolloutState.STOPPED, "reason": "line1: did-not-stay-up"}
    for sequence in (7, 8):
        world.loop().note_rollouts([("line", software(sequence, **stopped))])
    (message,) = world.mail.taken
    assert message.title == f"{NAME}: the rollout of the agent's software 0.2.0 was stopped"
    assert "line1: did-not-stay-up" in message.text
