"""The rule for an operator's commands, over values: the same for a running agent and for its state file."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edge_agent.errors import StateError
from edge_agent.ota.activation import Act, Phase, State
from edge_agent.ota.operator_command import Command, describe, obey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
SETTLED = State(current=NEW, previous=OLD, factory=OLD, sequence=3)
PROBATION = State(current=OLD, factory=OLD, pending=NEW, phase=Phase.PROBATION, sequence=3)


def test_a_rollback_runs_the_previous_release_and_does_not_take_the_present_one_again():
    """The release that was left is remembered as failed under its sequence."""
    after, act = obey(SETTLED, Command("rollback"), NOW)
    assert (after.current, act) == (OLD, Act.RUN_CURRENT)
    assert after.failed[NEW].reason == "rolled back by the operator"


def test_a_rollback_in_a_probation_ends_it():
    """The release before the one on probation runs again."""
    after, act = obey(PROBATION, Command("rollback"), NOW)
    assert (after.running, after.phase, act) == (OLD, Phase.IDLE, Act.RUN_CURRENT)


@pytest.mark.parametrize(
    ("state", "command", "said"),
    [
        (State(), Command("rollback"), "no earlier release"),
        (State(current=NEW, factory=NEW), Command("rollback"), "no earlier release"),
        (State(), Command("pin"), "no release on this device that could be pinned"),
        (SETTLED, Command("pin", OTHER), r"kept on this device \(aaaaaaaaaaaa, bbbbbbbbbbbb\), but got cccccccccccc"),
        (State(current=NEW), Command("pin", OTHER), r"kept on this device \(bbbbbbbbbbbb\)"),
        (SETTLED, Command("rollback", OLD), "release aaaaaaaaaaaa is left already: release bbbbbbbbbbbb runs now"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_refused_with_the_reason(state, command, said):
    """The state stays as it is, and the operator reads why."""
    with pytest.raises(StateError, match=said):
        obey(state, command, NOW)


def test_pinning_takes_the_running_release_where_none_is_named():
    """The agent goes on with what it runs, and takes nothing new."""
    after, act = obey(SETTLED, Command("pin"), NOW)
    assert (after.pinned, after.current, act) == (NEW, NEW, Act.NOTHING)


def test_pinning_an_earlier_release_runs_it():
    """The release that ran becomes the previous one."""
    after, act = obey(SETTLED, Command("pin", OLD), NOW)
    assert (after.pinned, after.current, after.previous, act) == (OLD, OLD, NEW, Act.RUN_CURRENT)


def test_a_command_that_is_fulfilled_already_succeeds():
    """Pinning twice and unpinning twice are no errors."""
    pinned, _ = obey(SETTLED, Command("pin"), NOW)
    assert obey(pinned, Command("pin"), NOW) == (pinned, Act.NOTHING)
    assert obey(pinned, Command("unpin"), NOW) == (SETTLED, Act.NOTHING)
    assert obey(SETTLED, Command("unpin"), NOW) == (SETTLED, Act.NOTHING)


def test_the_operator_reads_which_release_runs():
    """The digest is cut to twelve digits; a pinned release is called pinned."""
    assert describe(None, None) == "no release runs"
    assert describe(NEW, None) == "release bbbbbbbbbbbb runs"
    assert describe(NEW, OLD) == "release bbbbbbbbbbbb runs"
    assert describe(NEW, NEW) == "release bbbbbbbbbbbb runs, pinned"
