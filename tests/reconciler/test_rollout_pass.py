"""A pass over rollouts: it takes each step once, whatever is lost on the way, and ends in the same state."""

from dataclasses import replace

import pytest

from components.deployment.rollout_steps import Asked, Step, StepRefused, take
from inspection.rollout import PausedFor, RolloutState
from reconciler.rollout_pass import rollout_pass
from tests.reconciler.rollouts import NEW, NOW, OLD, PLAN, desired, device


class World:
    """The signer and the registry in memory, with what was asked of them. fails: raises there, before or after."""

    def __init__(self, *reports, plan=PLAN):
        self.states = {("metal-tag", "line"): desired(plan)}
        self.reports, self.unread = list(reports), ()
        self.steps, self.notes = [], []
        self.fails = {}

    def desired_names(self):
        return sorted(self.states)

    def desired(self, use_case, group):
        return self.states[use_case, group]

    def rollout(self, use_case, group, sequence, step, *, by, reason="", devices=(), paused_for=""):
        self._fail("before a step")
        state = self.states[use_case, group]
        asked = Asked(Step(step), sequence, by, reason, tuple(devices), PausedFor(paused_for or "person"))
        self.states[use_case, group] = take(state, asked, NOW)
        self.steps.append(step)
        self._fail("after a step")
        return self.states[use_case, group].sequence

    def rollout_of(self, model, version):
        self._fail("at a question")
        return next((how for name, number, how in reversed(self.notes) if (name, number) == (model, version)), "")

    def note_rollout(self, model, version, how, reason):
        self._fail("before a note")
        self.notes.append((model, version, how))
        self._fail("after a note")

    def _fail(self, where):
        if self.fails.pop(where, None):
            raise ConnectionError(where)

    def one_pass(self):
        return rollout_pass(self, self, self, self, NOW)

    @property
    def plan(self):
        return self.states["metal-tag", "line"].rollout


def fleet(bad=()):
    """Four devices that run what they should, but the bad ones refuse the new release."""
    names = ("canary", "d1", "d2", "d3")
    return [device(name, OLD, failure=("bad: x",)) if name in bad else device(name) for name in names]


def test_a_good_release_goes_through_all_stages_and_is_noted_as_done():
    """Three stages: two steps, then the end; further passes do nothing."""
    world = World(*fleet())
    for _ in range(5):
        world.one_pass()
    assert world.steps == ["advance", "advance", "finish"]
    assert world.notes == [("metal-tag", 7, "done")]


def test_a_bad_release_is_stopped_by_its_canary_and_noted_as_failed():
    """The others never get it."""
    world = World(*fleet(bad=["canary"]))
    for _ in range(3):
        world.one_pass()
    assert (world.steps, world.plan.state, world.plan.devices) == (["stop"], RolloutState.STOPPED, ("canary",))
    assert world.states["metal-tag", "line"].release_for("d1") == OLD
    assert world.notes == [("metal-tag", 7, "failed")]


@pytest.mark.parametrize("bad", [[], ["canary"]])
@pytest.mark.parametrize("where", ["before a step", "after a step", "at a question", "before a note", "after a note"])
def test_a_pass_that_ends_anywhere_is_made_good_by_the_next(where, bad):
    """A lost answer, or a pass that was killed: each step is taken once, and the end is noted once."""
    world, whole = World(*fleet(bad)), World(*fleet(bad))
    for number in range(8):
        if number in (0, 2, 3):
            world.fails[where] = True
        world.one_pass()
        whole.one_pass()
    assert (world.steps, world.plan, world.notes) == (whole.steps, whole.plan, whole.notes)


def test_two_reconcilers_take_a_step_once():
    """Both have seen the same state; the signer refuses the second."""
    world = World(*fleet())
    stale = dict(world.states)
    world.one_pass()
    late = World(*fleet())
    late.states = world.states
    late.desired = lambda use_case, group: stale[use_case, group]
    (found,) = late.one_pass()
    assert (late.steps, found.acted) == ([], False)
    assert "it is at 6 by now" in found.error


def test_one_group_that_cannot_be_served_costs_no_other_one():
    """The pass goes on, and says which."""
    world = World(*fleet())
    world.states["metal-tag", "another"] = desired(replace(PLAN, release_digest=NEW))
    world.reports += [replace(report, group="another") for report in fleet()]
    world.fails["before a step"] = True
    first, second = world.one_pass()
    assert (first.group, first.error, second.acted) == ("another", "before a step", True)


def test_a_rollout_that_a_person_took_back_is_noted_as_failed_too():
    """So that nothing orders the version again by itself."""
    world = World(*fleet())
    state = world.states["metal-tag", "line"]
    world.states["metal-tag", "line"] = take(state, Asked(Step.STOP, 5, "qa", "looks wrong"), NOW)
    world.one_pass()
    assert world.notes == [("metal-tag", 7, "failed")]
    with pytest.raises(StepRefused):
        world.rollout("metal-tag", "line", 6, "stop", by="reconciler")
