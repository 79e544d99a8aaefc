"""A rollout of the agent's software from order to end, as the desired states that follow each other. No server."""

from dataclasses import replace

import pytest

from components.deployment.agent_orders import AgentRequest, with_agent
from components.deployment.rollout_steps import Asked, Step, StepRefused
from components.deployment.software_steps import SoftwareWaves, begin_software, take_software
from components.use_case import Rollout
from inspection.codec import DocumentError
from inspection.documents import DesiredState
from inspection.rollout import RolloutState, Stage
from tests.components.deployment.test_rollout_steps import ALL, BEFORE, NOW, POLICY, order
from tests.components.deployment.test_rollout_steps import step as step_of_a_release
from tests.edge_agent.agent_wheels import build_agent

ONE, TWO, THREE = (build_agent(code, version).release for code, version in
                   (("one", "0.1.0"), ("two", "0.2.0"), ("three", "0.3.0")))  # fmt: skip
WAVES = SoftwareWaves(stages=POLICY.to_software_stages())
EVERYWHERE = with_agent(BEFORE, AgentRequest("metal-tag", "line", ONE.digest))


def roll(release=TWO, current=EVERYWHERE, *, again=False):
    return begin_software(current, release, WAVES, probation_s=60.0, again=again, by="qa", now=NOW)


def step(state, what, *, by="reconciler", reason="", sequence=None, **more):
    asked = Asked(Step(what), state.sequence if sequence is None else sequence, by, reason, **more)
    return take_software(state, asked, NOW)


def runs(state):
    return [state.agent.release_for(name) for name in ALL]


def test_software_opens_one_stage_after_the_other_and_the_rest_keeps_the_former():
    """Canary, 1 %, 50 %, all, as a release does; a later stage is no new try, and the release's order stays."""
    state = roll()
    seen = [runs(state)]
    for _ in range(3):
        state = step(state, "advance")
        seen.append(runs(state))
    one, two = ONE.digest, TWO.digest
    assert seen == [[two, one, one], [two, one, one], [two, two, one], [two, two, two]]
    done = step(state, "finish")
    assert (done.agent.rollout.state, done.agent.since, done.agent.probation_s) == (RolloutState.DONE, 6, 60.0)
    assert (done.waves, done.asked_since) == (BEFORE.waves, BEFORE.asked_since)
    assert DesiredState.from_json(done.to_json()) == done


def test_a_stop_asks_all_for_the_former_software_and_it_is_not_ordered_again_by_chance():
    """Only --again begins anew, and devices that refused it may try again."""
    state = step(step(roll(), "advance"), "stop", reason="press-1: did-not-stay-up", devices=("canary",))
    assert (runs(state), state.agent.rollout.devices) == ([ONE.digest] * 3, ("canary",))
    with pytest.raises(StepRefused, match=r"agent's software 0\.2\.0 was stopped by reconciler: press-1: did-not"):
        roll(current=state)
    again = roll(current=state, again=True)
    assert (runs(again)[0], again.agent.since, again.agent.rollout.former_digest) == (TWO.digest, 9, ONE.digest)


def test_the_first_software_that_is_stopped_is_left_to_those_that_have_it():
    """There is none to go back to: no wave includes a device, so each keeps what it has."""
    state = step(roll(current=BEFORE), "stop")
    assert runs(state) == [None, None, None]
    assert DesiredState.from_json(state.to_json()) == state


def test_what_is_rolled_out_already_is_not_begun_again_and_newer_software_overtakes():
    """An order that comes twice changes nothing; a newer version goes back to what all were asked to run."""
    state = step(roll(), "advance")
    assert roll(current=state) is state
    newer = roll(THREE, state)
    assert (newer.agent.rollout.former_digest, runs(newer)) == (ONE.digest, [THREE.digest, ONE.digest, ONE.digest])
    whole = step(step(state, "advance"), "advance")
    assert roll(THREE, whole).agent.rollout.former_digest == TWO.digest


def test_software_waits_while_the_rollout_of_a_release_has_stages_left_to_open():
    """Both at once would make it unclear what a fault comes from. At its last stage the release opens nothing more."""
    release = order(current=EVERYWHERE)
    state = roll(current=release)
    assert (state.agent.rollout.state, runs(state)) == (RolloutState.WAITING, [ONE.digest] * 3)
    opened = step(state, "advance")
    assert (opened.agent.rollout.state, opened.agent.rollout.open_stage) == (RolloutState.RUNNING, 0)
    assert runs(opened) == [TWO.digest, ONE.digest, ONE.digest]
    assert step(state, "stop").agent.rollout.state is RolloutState.STOPPED
    last = release
    for _ in range(3):
        last = step_of_a_release(last, "advance")
    assert roll(current=last).agent.rollout.state is RolloutState.RUNNING


def test_no_release_begins_while_software_has_stages_left_to_open():
    """A person may still order one to all devices at once, or pin one; at the last stage the release begins."""
    state = roll()
    with pytest.raises(StepRefused, match=r"the agent's software 0\.2\.0 is being rolled out .*kizu agent stop"):
        order(current=state)
    assert order(current=state, at_once=True).rollout.is_last
    assert order(current=state, pin=True).agent == state.agent
    for _ in range(3):
        state = step(state, "advance")
    assert order(current=state).rollout.open_stage == 0
    assert order(current=step(roll(), "stop")).rollout.open_stage == 0


def test_an_order_by_hand_ends_the_plan():
    """From then on a person widens it."""
    state = with_agent(roll(), AgentRequest("metal-tag", "line", TWO.digest, devices=("dev9",)))
    assert state.agent.rollout is None
    assert [state.agent.release_for(name) for name in ("canary", "dev9")] == [TWO.digest] * 2


@pytest.mark.parametrize(
    ("what", "state", "said"),
    [
        ("finish", roll(), "cannot finish a rollout that is running"),
        ("advance", BEFORE, "no software of the agent is rolled out by stages"),
        ("advance", EVERYWHERE, "no software of the agent is rolled out by stages"),
        ("resume", roll(), "cannot resume a rollout that is running"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(what, state, said):
    """The message says where the rollout stands."""
    with pytest.raises(StepRefused, match=said):
        step(state, what)
    with pytest.raises(StepRefused, match="expected to pause at sequence 1, but it is at 6 by now"):
        step(roll(), "pause", sequence=1)


def test_stages_of_software_ask_for_no_frames():
    """Devices count frames for releases. What differs is refused before anything is signed."""
    assert {stage.min_frames for stage in Rollout(min_frames=500).to_software_stages()} == {0}
    assert SoftwareWaves.from_json(WAVES.to_json()) == WAVES
    wrong = [replace(WAVES.stages[0], min_frames=5)], [], [Stage()] * 51
    for stages in wrong:
        with pytest.raises(ValueError, match=r"stage"):
            SoftwareWaves(stages=tuple(stages))
    with pytest.raises(DocumentError, match="time zone"):
        SoftwareWaves.from_value({"stages": [{"percent": 5.0}], "time_zone": "Mars/Base"})
