"""A rollout from order to end, as the desired states that follow each other. No server."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.deployment.rollout_steps import Asked, Order, Step, StepRefused, begin, take
from components.use_case import Rollout
from inspection.documents import DesiredState, Wave
from inspection.rollout import PausedFor, RolloutState
from tests.reconciler.test_rules import RELEASE

NOW = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
OLD = "a" * 64
POLICY = Rollout(
    canary=("canary",), waves=(1.0, 50.0, 100.0), by_hand=False, min_s=60.0, probation_s=60.0,
    wave_rules={"canary": {"min_s": 3600.0}, "50": {"by_hand": True}},
)  # fmt: skip
NEXT = replace(RELEASE, version=8)
BEFORE = DesiredState(
    sequence=4, use_case="metal-tag", waves=(Wave(release_digest=OLD, percent=100.0),), probation_s=60.0
)


def order(release=RELEASE, current=BEFORE, policy=POLICY, **how):
    return begin(release, policy, current, Order(**how), NOW)


def step(state, what, *, by="qa", reason="", sequence=None, **more):
    asked = Asked(Step(what), state.sequence if sequence is None else sequence, by, reason, **more)
    return take(state, asked, NOW + timedelta(hours=1))


def runs(state, *devices):
    return [(state.release_for(name) or "-")[:1] for name in devices]


OUT = next(f"d{i}" for i in range(99) if not Wave(release_digest=OLD, percent=50.0).includes(f"d{i}"))
IN = next(
    f"d{i}"
    for i in range(99)
    if Wave(release_digest=OLD, percent=50.0).includes(f"d{i}")
    and not Wave(release_digest=OLD, percent=1.0).includes(f"d{i}")
)
ALL = ("canary", IN, OUT)
N = RELEASE.digest[:1]


def test_a_rollout_opens_one_stage_after_the_other_and_the_rest_keeps_the_former_release():
    """Canary, 1 %, 50 %, all: each step is a higher sequence, and the order itself stays that of the first."""
    state = order()
    assert (state.sequence, state.again, runs(state, *ALL)) == (5, 5, [N, "a", "a"])
    seen = []
    for _ in range(3):
        state = step(state, "advance", by="reconciler")
        seen.append((state.sequence, state.again, runs(state, *ALL)))
    assert seen == [(6, 5, [N, "a", "a"]), (7, 5, [N, N, "a"]), (8, 5, [N, N, N])]
    done = step(state, "finish", by="reconciler")
    assert (done.rollout.state, done.waves) == (RolloutState.DONE, state.waves)
    assert done.rollout.opened_at == NOW + timedelta(hours=1)


def test_a_wave_has_rules_of_its_own_where_the_policy_says_so():
    """The other waves have those of the rollout."""
    stages = order().rollout.stages
    assert [(stage.percent, stage.min_s, stage.by_hand) for stage in stages] == [
        (0.0, 3600.0, False), (1.0, 60.0, False), (50.0, 60.0, True), (100.0, 60.0, False),
    ]  # fmt: skip


def test_a_stopped_rollout_asks_all_for_the_former_release_and_is_not_ordered_again_by_chance():
    """Only --again begins anew, at the first stage, and devices that refused it may try again."""
    state = step(step(order(), "advance"), "stop", by="reconciler", reason="canary: bad", devices=("canary",))
    assert (state.sequence, runs(state, *ALL), state.ordered) == (7, ["a", "a", "a"], OLD)
    assert (state.rollout.reason, state.rollout.devices) == ("canary: bad", ("canary",))
    with pytest.raises(StepRefused, match=r"version 7 was stopped by reconciler: canary: bad; .*--again"):
        order(current=state)
    again = order(current=state, again=True)
    assert (again.sequence, again.again, runs(again, *ALL)) == (8, 8, [N, "a", "a"])
    assert again.rollout.former_digest == OLD


def test_a_first_release_that_is_stopped_leaves_its_devices_alone():
    """There is none to go back to."""
    state = step(order(current=None), "stop")
    assert (state.waves, state.ordered) == ((), None)
    whole = step(order(current=None, policy=Rollout()), "finish")
    with pytest.raises(StepRefused, match="the first release of this group"):
        step(whole, "stop")


def test_a_newer_version_overtakes_and_goes_back_to_what_all_ran():
    """Version 8 is ordered while version 7 is at 50 %: those devices run the former release until their wave."""
    half = step(step(order(), "advance"), "advance")
    state = order(NEXT, half)
    assert state.rollout.former_digest == OLD
    assert runs(state, *ALL) == [NEXT.digest[:1], "a", "a"]
    whole = step(half, "advance")
    assert order(NEXT, whole).rollout.former_digest == RELEASE.digest
    stopped = step(half, "stop")
    assert order(NEXT, stopped).rollout.former_digest == OLD


def test_what_is_ordered_already_stays_and_again_keeps_the_open_stage():
    """A deployment that is started twice changes nothing."""
    state = step(order(), "advance")
    assert order(current=state) is state
    again = order(current=state, again=True)
    assert (again.sequence, again.again, again.rollout) == (7, 7, state.rollout)
    plain = replace(BEFORE, waves=(Wave(release_digest=RELEASE.digest, percent=100.0),))
    assert order(current=plain) is plain, "an order of before, to all devices at once"


def test_a_step_that_comes_twice_or_too_late_is_refused():
    """The caller names the sequence that it has seen."""
    state = order()
    after = step(state, "advance")
    with pytest.raises(StepRefused, match="expected to advance at sequence 5, but it is at 6 by now"):
        step(after, "advance", sequence=5)


@pytest.mark.parametrize(
    ("steps", "refused"),
    [
        (["pause"], "pause"), (["stop"], "stop"), (["stop"], "advance"), ([], "finish"), ([], "resume"),
        (["advance", "advance", "advance"], "advance"), (["advance", "advance", "advance", "finish"], "pause"),
    ],
)  # fmt: skip
def test_a_step_that_does_not_fit_is_refused_by_name(steps, refused):
    """The message says how the rollout stands."""
    state = order()
    for name in steps:
        state = step(state, name)
    with pytest.raises(StepRefused, match=f"cannot {refused} a rollout that is"):
        step(state, refused)


def test_pause_and_resume():
    """A resume goes on beyond a question that was put to a person; after a person's own pause it only goes on."""
    asked = step(order(), "pause", paused_for=PausedFor.INCONCLUSIVE, reason="too few")
    assert (asked.rollout.state, asked.waves) == (RolloutState.PAUSED, order().waves)
    assert step(asked, "resume").rollout.go_on
    assert not step(step(order(), "pause"), "resume").rollout.go_on
    opened = step(step(asked, "resume"), "advance")
    assert (opened.rollout.open_stage, opened.rollout.go_on) == (1, False)
    assert step(asked, "advance").rollout.state is RolloutState.RUNNING, "a person opens the next stage at once"


def test_a_pin_goes_to_all_and_nothing_follows_until_it_is_resumed():
    """Neither a newer version nor a canary stands before it."""
    state = order(pin=True, by="admin", reason="audit week")
    assert runs(state, *ALL) == [N, N, N]
    with pytest.raises(StepRefused, match=r"version 7 is pinned by admin, so that version 8 .* kizu deploy resume"):
        order(NEXT, state)
    assert order(NEXT, state, pin=True).ordered == NEXT.digest
    ended = step(state, "resume")
    assert ended.rollout.state is RolloutState.DONE
    assert order(NEXT, ended).rollout.former_digest == RELEASE.digest
    kept = order(current=ended, pin=True, by="admin")
    assert (kept.rollout.state, kept.waves) == (RolloutState.PINNED, ended.waves)


def test_an_older_version_and_a_recovery_go_to_all_at_once():
    """Who goes back does not wait for a canary."""
    back = order(current=order(NEXT), at_once=True)
    assert runs(back, *ALL) == [N, N, N]
    pinned = order(NEXT, pin=True)
    recovered = order(current=pinned, at_once=True, again=True, whatever_is_pinned=True, sequence_above=90)
    assert (recovered.sequence, recovered.again, runs(recovered, *ALL)) == (91, 91, [N, N, N])


def test_a_long_reason_is_cut():
    """The document stays small, whatever a device said."""
    assert len(step(order(), "stop", reason="x" * 9000).rollout.reason) == 500
