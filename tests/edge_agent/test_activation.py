"""The activation as a pure rule: what follows from each event in each phase, and from a crash in each phase."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.errors import StateError
from edge_agent.ota.activation import (
    BY_OPERATOR,
    MAX_ATTEMPTS,
    Act,
    Booted,
    Failed,
    Fetched,
    Healthy,
    Loaded,
    Offered,
    Phase,
    Pinned,
    RolledBack,
    Seen,
    State,
    Stopping,
    TrialPassed,
    Unhealthy,
    Unpinned,
    decide,
)  # fmt: skip
from edge_agent.ota.offer import Keep, Take, choose
from edge_agent.ota.refusal import LONGEST_WAIT, TRIES, Refusal
from edge_agent.ota.store import ReleaseStore
from inspection import DesiredState, Wave

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
HAPPY = (Offered(NEW, 5, 60.0), Fetched(), TrialPassed(), Loaded())


def after(state, *events):
    for event in events:
        state, act = decide(state, event, NOW)
    return state, act


def test_the_happy_way_ends_with_the_new_release_as_current():
    """The old release becomes the previous one, and the first one stays the factory release."""
    state, act = after(State(current=OLD, factory=OLD), *HAPPY)
    assert (state.phase, state.current, state.running, act) == (Phase.PROBATION, OLD, NEW, Act.RUN_PENDING)
    state, act = after(state, Healthy(59.9))
    assert (state.phase, act) == (Phase.PROBATION, Act.NOTHING)
    state, act = after(state, Healthy(60.0))
    assert act is Act.CLEAN
    assert (state.phase, state.current, state.previous, state.factory) == (Phase.IDLE, NEW, OLD, OLD)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_crash_at_any_point_boots_the_release_before(steps):
    """Whichever state was written last, the next start runs the current release."""
    state, _ = after(State(current=OLD), *HAPPY[:steps])
    state, act = after(state, Booted())
    assert (state.phase, state.running, act) == (Phase.IDLE, OLD, Act.RUN_CURRENT)


def test_a_crash_in_probation_is_remembered_a_power_cut_while_fetching_is_not():
    """A crash counts against a release only where the release can have caused it."""
    in_probation, _ = after(State(current=OLD), *HAPPY, Booted())
    assert NEW in in_probation.failed
    while_fetching, _ = after(State(current=OLD), *HAPPY[:1], Booted())
    assert NEW not in while_fetching.failed


def test_an_agent_that_keeps_dying_with_a_release_in_hand_tries_it_less_and_less():
    """A trial that takes the whole machine down is tried again after waits that double, and not for ever."""
    state, now, waits = State(current=OLD), NOW, []
    wanted = desired(Wave(release_digest=NEW, percent=100.0), sequence=5)
    while isinstance(answer(wanted, sequence_seen=5, failed=state.failed, now=now), Take):
        for event in (Offered(NEW, 5, 60.0), Fetched(), Booted()):
            state, act = decide(state, event, now)
        assert (state.running, act) == (OLD, Act.RUN_CURRENT)
        next_at = state.failed[NEW].next_at
        assert isinstance(answer(wanted, sequence_seen=5, failed=state.failed, now=now), Keep)
        waits.append(next_at - now)
        now = next_at
    assert len(waits) == TRIES
    assert waits[:4] == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]
    assert max(waits) == LONGEST_WAIT


def test_power_cuts_while_fetching_are_never_held_against_a_release():
    """A long download may see many power cuts, and continues after each."""
    state = State(current=OLD)
    for _ in range(3 * MAX_ATTEMPTS):
        state, act = after(state, Offered(NEW, 5, 60.0), Booted())
        assert (state.phase, act, state.failed) == (Phase.IDLE, Act.RUN_CURRENT, {})


def test_the_first_release_survives_a_power_cut_in_its_probation():
    """There is no release to go back to, so the first one is tried again, a limited number of times."""
    state, _ = after(State(), *HAPPY)
    for _ in range(MAX_ATTEMPTS - 1):
        state, act = after(state, Booted())
        assert (state.running, act) == (NEW, Act.RUN_PENDING)
    state, act = after(state, Booted())
    assert (state.running, act) == (None, Act.RUN_CURRENT)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_orderly_stop_before_probation_counts_no_attempt(steps):
    """A restart of the service is not a crash."""
    state, _ = after(State(current=OLD), *HAPPY[:steps], Stopping(), Booted())
    assert (state.attempts, state.phase, state.failed) == (0, Phase.IDLE, {})


def test_an_orderly_stop_in_probation_runs_it_again_from_the_start():
    """The next start runs the new release, and its probation begins again."""
    state, act = after(State(current=OLD), *HAPPY, Stopping(), Booted())
    assert (state.phase, state.running, act) == (Phase.PROBATION, NEW, Act.RUN_PENDING)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_failed_step_keeps_the_current_release(steps):
    """A failure of the release is remembered; a failure of the network is not."""
    state, act = after(State(current=OLD), *HAPPY[:steps], Failed("bad"))
    assert (state.phase, state.running, act, state.failed[NEW].reason) == (Phase.IDLE, OLD, Act.NOTHING, "bad")
    state, _ = after(State(current=OLD), *HAPPY[:steps], Failed("offline", transient=True))
    assert (state.phase, state.failed) == (Phase.IDLE, {})


def test_events_that_do_not_fit_change_nothing():
    """An answer of an earlier step that comes too late has no effect."""
    for event in (Fetched(), TrialPassed(), Loaded(), Failed("x"), Unhealthy("x"), Healthy(1e9), Stopping()):
        assert after(State(current=OLD), event) == (State(current=OLD), Act.NOTHING)


def test_a_release_that_works_after_all_is_no_longer_held_as_failed():
    """A higher sequence let the release be tried again, and it passed."""
    state = State(current=OLD, failed={NEW: Refusal(4, "slow that day")})
    state, _ = after(state, *HAPPY, Healthy(60.0))
    assert (state.current, state.failed) == (NEW, {})


def test_a_sequence_never_falls():
    """The state keeps the highest sequence that was seen."""
    assert after(State(sequence=7), Seen(5))[0].sequence == 7
    assert after(State(sequence=7), Seen(9))[0].sequence == 9


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_every_state_survives_the_disk(steps, tmp_path):
    """A state that is written and read again is the same."""
    state = State(current=OLD, previous=OLD, factory=OLD, failed={"c" * 64: Refusal(3, "理由")})
    if steps:
        state, _ = after(state, *HAPPY[:steps])
    store = ReleaseStore(tmp_path)
    store.save_state(state)
    assert ReleaseStore(tmp_path).load_state() == state


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 3}'])
def test_a_damaged_state_file_is_named(text, tmp_path):
    """A command that only reads names the file; the agent sets it aside."""
    (tmp_path / "activation.json").write_text(text)
    with pytest.raises(StateError, match=r"activation\.json"):
        ReleaseStore(tmp_path).load_state()


# -- which release is meant for this device ---------------------------------------------------------------------------


def desired(*waves, sequence=5, use_case="tags"):
    return DesiredState(sequence=sequence, use_case=use_case, waves=waves, probation_s=60.0)


def answer(state, **changes):
    facts = {
        "device": "dev1",
        "use_case": "tags",
        "sequence_seen": 4,
        "running": OLD,
        "failed": {},
        "now": NOW,
    } | changes
    return choose(state, **facts)


def test_a_named_device_takes_the_release_of_its_wave():
    """The first wave that includes the device decides."""
    waves = (Wave(release_digest=NEW, devices=("dev1",)), Wave(release_digest=OLD, percent=100.0))
    assert answer(desired(*waves)) == Take(NEW, 5, 60.0)
    assert isinstance(answer(desired(*waves), device="dev2"), Keep)


@pytest.mark.parametrize(
    ("state", "changes", "reason"),
    [
        (None, {}, "no-desired-state"),
        (desired(Wave(release_digest=NEW, percent=100.0), use_case="other"), {}, "other-use-case"),
        (desired(Wave(release_digest=NEW, percent=100.0), sequence=3), {}, "rolled-back-sequence"),
        (desired(Wave(release_digest=NEW, percent=0.0)), {}, "not-in-a-wave"),
        (desired(Wave(release_digest=OLD, percent=100.0)), {}, "up-to-date"),
        (
            desired(Wave(release_digest=NEW, percent=100.0)),
            {"failed": {NEW: Refusal(5, "slow")}},
            "failed-before",
        ),
    ],
)
def test_a_device_keeps_what_it_has_and_says_why(state, changes, reason):
    """A device that keeps its release gives a fixed word for each cause."""
    got = answer(state, **changes)
    assert isinstance(got, Keep)
    assert got.reason == reason


def test_a_failed_release_is_tried_again_under_a_higher_sequence():
    """A higher sequence means that the publisher asks for the release again."""
    state = desired(Wave(release_digest=NEW, percent=100.0))
    assert isinstance(answer(state, failed={NEW: Refusal(4, "slow")}), Take)


def test_the_operator_goes_back_to_the_previous_release_and_it_is_not_taken_again():
    """The release that was left is refused until a desired state with a higher sequence asks for it."""
    state, act = after(State(current=NEW, previous=OLD, factory=OLD, sequence=5), RolledBack())
    assert (state.current, state.previous, act) == (OLD, None, Act.RUN_CURRENT)
    assert (state.failed[NEW].sequence, state.failed[NEW].reason) == (5, BY_OPERATOR)
    desired = DesiredState(sequence=5, use_case="t", waves=(Wave(release_digest=NEW, percent=100),), probation_s=1.0)
    again = {"device": "d", "use_case": "t", "sequence_seen": 5, "running": OLD, "failed": state.failed, "now": NOW}
    assert choose(desired, **again).reason == "failed-before"


def test_going_back_in_a_probation_ends_it():
    """The release on probation is treated as one that failed."""
    state, act = after(State(current=OLD, sequence=4), *HAPPY, RolledBack())
    assert (state.phase, state.running, act) == (Phase.IDLE, OLD, Act.RUN_CURRENT)
    assert state.failed[NEW].reason == BY_OPERATOR


@pytest.mark.parametrize(
    "state", [State(), State(current=OLD), State(current=OLD, factory=OLD, previous=OLD)], ids=["new", "only", "same"]
)
def test_where_there_is_nothing_to_go_back_to_nothing_changes(state):
    """A rollback never leaves the device without a release."""
    assert after(state, RolledBack()) == (state, Act.NOTHING)


def test_going_back_twice_ends_at_the_factory_release():
    """The second rollback does not return to the release that was left by the first."""
    factory = "f" * 64
    state, _ = after(State(current=NEW, previous=OLD, factory=factory), RolledBack(), RolledBack())
    assert (state.current, set(state.failed)) == (factory, {NEW, OLD})
    assert after(state, RolledBack()) == (state, Act.NOTHING)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_going_back_while_a_release_is_fetched_or_tried_lets_it_go(steps):
    """Later answers of the steps of that release change nothing."""
    state, act = after(State(current=NEW, previous=OLD, sequence=4), Offered("c" * 64, 5, 1.0), *HAPPY[1:steps])
    state, act = after(state, RolledBack())
    assert (state.current, state.pending, act) == (OLD, None, Act.RUN_CURRENT)
    assert after(state, Fetched(), TrialPassed(), Loaded()) == (state, Act.NOTHING)


def test_a_pinned_release_stays_whatever_is_published():
    """No other release is taken, and the files of the pinned one are kept."""
    state, act = after(State(current=NEW, previous=OLD, sequence=5), Pinned(OLD))
    assert (state.current, state.previous, state.pinned, act) == (OLD, NEW, OLD, Act.RUN_CURRENT)
    assert OLD in state.kept
    other = "c" * 64
    desired = DesiredState(sequence=6, use_case="t", waves=(Wave(release_digest=other, percent=100),), probation_s=1.0)
    asked = {"device": "d", "use_case": "t", "sequence_seen": 5, "running": OLD, "failed": {}, "now": NOW}
    assert choose(desired, **asked, pinned=OLD) == Keep("pinned", f"to {OLD[:12]} by the operator", 6)
    state, act = after(state, Unpinned())
    assert (state.pinned, act) == (None, Act.NOTHING)
    assert choose(desired, **asked, pinned=None) == Take(other, 6, 1.0)


def test_only_a_release_that_is_here_can_be_pinned():
    """A pin of a release that is not on the device changes nothing and fetches nothing."""
    state = State(current=NEW, previous=OLD)
    assert after(state, Pinned("c" * 64)) == (state, Act.NOTHING)
    assert after(state, Pinned(NEW))[0].pinned == NEW


def test_a_pin_survives_a_restart(tmp_path):
    """The pin is part of the state on disk."""
    store = ReleaseStore(tmp_path)
    state, _ = after(State(current=NEW), Pinned(NEW))
    store.save_state(state)
    assert ReleaseStore(tmp_path).load_state() == state
