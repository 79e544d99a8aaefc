"""The whole state after each event, the operator's commands, and the words of a device that takes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edge_agent import __version__
from edge_agent.errors import StateError
from edge_agent.ota.activation import (
    BY_OPERATOR,
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
    Superseded,
    TrialPassed,
    Unhealthy,
    Unpinned,
    decide,
)  # fmt: skip
from edge_agent.ota.offer import Keep, Take, choose
from edge_agent.ota.operator_command import Command, obey
from edge_agent.ota.probation import Tally
from edge_agent.ota.refusal import Refusal, refuse
from inspection import DesiredState, Wave

EARLIER, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
OLD, NEW, BEFORE, FIRST, BAD = ("a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64)
KNOWN = {BAD: Refusal(3, "slow")}
# Every field differs from its default, so that a field that an event must not touch is seen when it changes.
IDLE = State(
    current=OLD,
    previous=BEFORE,
    factory=FIRST,
    since=EARLIER,
    sequence=5,
    probation_s=60.0,
    attempts=1,
    stops=2,
    failed=KNOWN,
)
FETCHING = replace(IDLE, pending=NEW, phase=Phase.FETCHING)
TRYING = replace(IDLE, pending=NEW, phase=Phase.TRYING)
PENDING = replace(IDLE, pending=NEW, phase=Phase.PENDING)
PROBATION = replace(IDLE, pending=NEW, phase=Phase.PROBATION)
PAUSED = replace(IDLE, pending=NEW, phase=Phase.PAUSED)
DROPPED = replace(IDLE, since=NOW)


def held(reason: str) -> Refusal:
    """What is remembered of a first failure."""
    return refuse(None, reason, sequence=5, now=NOW, agent_version=__version__)


def given_up(reason: str) -> State:
    return replace(DROPPED, attempts=0, stops=0, failed={**KNOWN, NEW: held(reason)})


CRASHED = "agent-stopped: without warning during probation"


@pytest.mark.parametrize(
    ("state", "event", "after", "act"),
    [
        (IDLE, Offered(NEW, 6, 9.0),
         replace(FETCHING, since=NOW, sequence=6, probation_s=9.0, attempts=0, stops=0), Act.FETCH),
        (IDLE, Offered(NEW, 5, 9.0), replace(FETCHING, since=NOW, probation_s=9.0), Act.FETCH),
        (IDLE, Offered(NEW, 4, 9.0), replace(FETCHING, since=NOW, probation_s=9.0, attempts=0, stops=0), Act.FETCH),
        (FETCHING, Fetched(), replace(TRYING, since=NOW), Act.TRY),
        (TRYING, TrialPassed(), replace(PENDING, since=NOW), Act.LOAD),
        (PENDING, Loaded(), replace(PROBATION, since=NOW), Act.RUN_PENDING),
        (PROBATION, Healthy(60.0),
         replace(DROPPED, current=NEW, previous=OLD, attempts=0, stops=0), Act.CLEAN),
        (PROBATION, Healthy(59.9), PROBATION, Act.NOTHING),
        (replace(PROBATION, former=Tally(9), seen=Tally(9), waited_s=9.0, accepted=NEW), Healthy(60.0, "no frames"),
         replace(DROPPED, current=NEW, previous=OLD, attempts=0, stops=0, note="no frames"), Act.CLEAN),
        (PENDING, Loaded(Tally(9, 1, 0, 5.0)), replace(PROBATION, since=NOW, former=Tally(9, 1, 0, 5.0)),
         Act.RUN_PENDING),
        (replace(PROBATION, former=Tally(9), seen=Tally(9), waited_s=9.0), Superseded(), DROPPED, Act.RUN_CURRENT),
        (replace(PROBATION, current=None), Superseded(), replace(PROBATION, current=None), Act.NOTHING),
        (replace(IDLE, failed={NEW: held("verdict-share: fail")}), Offered(NEW, 6, 9.0, again=True),
         replace(FETCHING, since=NOW, sequence=6, probation_s=9.0, attempts=0, stops=0, failed={}, accepted=NEW),
         Act.FETCH),
        (PROBATION, Unhealthy("shape"), given_up("shape"), Act.RUN_CURRENT),
        (FETCHING, Failed("cut", transient=True), DROPPED, Act.NOTHING),
        (TRYING, Failed("cut", transient=True), DROPPED, Act.NOTHING),
        (TRYING, Failed("slow"), given_up("slow"), Act.NOTHING),
        (PENDING, Failed("shape"), given_up("shape"), Act.NOTHING),
        (PROBATION, Stopping(59.9, Tally(2, 1, 0)),
         replace(PAUSED, since=NOW, stops=3, waited_s=59.9, seen=Tally(2, 1, 0)), Act.NOTHING),
        (replace(PROBATION, waited_s=9.0, seen=Tally(2, 1, 0)), Stopping(60.0, Tally(3, 1, 1)),
         replace(PAUSED, since=NOW, stops=0, waited_s=69.0, seen=Tally(5, 2, 1)), Act.NOTHING),
        (replace(PROBATION, stops=4), Stopping(1.0),
         given_up("stopped-often: 5 times in order, while probation"), Act.NOTHING),
        (FETCHING, Stopping(), DROPPED, Act.NOTHING),
        (replace(FETCHING, stops=4), Stopping(), replace(DROPPED, stops=4), Act.NOTHING),
        (TRYING, Stopping(), replace(DROPPED, stops=3), Act.NOTHING),
        (PENDING, Stopping(), replace(DROPPED, stops=3), Act.NOTHING),
        (replace(TRYING, stops=4), Stopping(),
         given_up("stopped-often: 5 times in order, while trying"), Act.NOTHING),
        (IDLE, Booted(), IDLE, Act.RUN_CURRENT),
        (FETCHING, Booted(), DROPPED, Act.RUN_CURRENT),
        (PAUSED, Booted(), replace(PROBATION, since=NOW), Act.RUN_PENDING),
        (PROBATION, Booted(), given_up(CRASHED), Act.RUN_CURRENT),
        (TRYING, Booted(), given_up("agent-stopped: without warning while trying"), Act.RUN_CURRENT),
        (PENDING, Booted(), given_up("agent-stopped: without warning while pending"), Act.RUN_CURRENT),
        (replace(PROBATION, current=None), Booted(),
         replace(PROBATION, current=None, since=NOW, attempts=2), Act.RUN_PENDING),
        (replace(PROBATION, current=None, attempts=2), Booted(),
         replace(given_up(CRASHED), current=None), Act.RUN_CURRENT),
        (IDLE, Seen(8), replace(IDLE, sequence=8), Act.NOTHING),
        (PROBATION, Seen(8), PROBATION, Act.NOTHING),
        (PROBATION, Offered(BAD, 8, 1.0), PROBATION, Act.NOTHING),
        (replace(IDLE, failed={NEW: held("too-slow: 9 ms"), **KNOWN}), Offered(NEW, 6, 9.0, again=True),
         replace(FETCHING, since=NOW, sequence=6, probation_s=9.0, attempts=0, stops=0), Act.FETCH),
    ],
)  # fmt: skip
def test_an_event_changes_what_it_says_and_nothing_else(state, event, after, act):
    """All fields of the state after an event are known, those that stay included."""
    assert decide(state, event, NOW) == (after, act)


@pytest.mark.parametrize(
    ("state", "event", "after", "act"),
    [
        (replace(IDLE, pinned=OLD), RolledBack(),
         replace(DROPPED, current=BEFORE, previous=None, attempts=0, stops=0,
                 failed={**KNOWN, OLD: held(BY_OPERATOR)}), Act.RUN_CURRENT),
        (replace(PROBATION, pinned=NEW), RolledBack(), given_up(BY_OPERATOR), Act.RUN_CURRENT),
        (replace(PAUSED, pinned=NEW), RolledBack(), given_up(BY_OPERATOR), Act.RUN_CURRENT),
        (replace(PROBATION, current=None), RolledBack(), replace(PROBATION, current=None), Act.NOTHING),
        (replace(IDLE, current=None), RolledBack(), replace(IDLE, current=None), Act.NOTHING),
        (IDLE, Pinned(BEFORE),
         replace(DROPPED, current=BEFORE, previous=OLD, pinned=BEFORE, attempts=0, stops=0), Act.RUN_CURRENT),
        (IDLE, Pinned(OLD), replace(IDLE, pinned=OLD), Act.NOTHING),
        (PROBATION, Pinned(NEW), replace(PROBATION, pinned=NEW), Act.NOTHING),
        (PAUSED, Pinned(NEW), replace(PAUSED, pinned=NEW), Act.NOTHING),
        (FETCHING, Pinned(OLD), replace(DROPPED, pinned=OLD), Act.NOTHING),
        (TRYING, Pinned(OLD), replace(DROPPED, pinned=OLD), Act.NOTHING),
        (PENDING, Pinned(OLD), replace(DROPPED, pinned=OLD), Act.NOTHING),
        (PROBATION, Pinned(OLD), replace(DROPPED, pinned=OLD, attempts=0, stops=0), Act.RUN_CURRENT),
        (PAUSED, Pinned(OLD), replace(DROPPED, pinned=OLD, attempts=0, stops=0), Act.RUN_CURRENT),
        (TRYING, Pinned(FIRST),
         replace(DROPPED, current=FIRST, previous=OLD, pinned=FIRST, attempts=0, stops=0), Act.RUN_CURRENT),
        (TRYING, Pinned(NEW), TRYING, Act.NOTHING),
        (IDLE, Pinned(BAD), IDLE, Act.NOTHING),
        (replace(IDLE, pinned=OLD), Unpinned(), IDLE, Act.NOTHING),
    ],
)  # fmt: skip
def test_a_command_changes_what_it_says_and_nothing_else(state, event, after, act):
    """A rollback also removes the pin: otherwise the device would want the release that it has just left."""
    assert decide(state, event, NOW) == (after, act)


def test_the_first_release_becomes_the_factory_release_and_has_none_before_it():
    """There is nothing to go back to before the second release."""
    first = replace(PROBATION, current=None, previous=None, factory=None)
    after, _ = decide(first, Healthy(60.0), NOW)
    assert (after.current, after.previous, after.factory) == (NEW, None, NEW)


def test_a_release_that_was_fetched_again_keeps_the_one_before_it():
    """The release was damaged on the disk; the way back stays open."""
    after, _ = decide(replace(PROBATION, pending=OLD), Healthy(60.0), NOW)
    assert (after.current, after.previous) == (OLD, BEFORE)


def test_which_releases_run_and_stay_on_the_disk():
    """A release runs on probation and while that pauses, not before; its files are kept from the fetch on."""
    assert [state.running for state in (IDLE, FETCHING, TRYING, PENDING, PROBATION, PAUSED)] == [OLD] * 4 + [NEW] * 2
    assert replace(PROBATION, pinned=BAD).kept == {OLD, NEW, BEFORE, FIRST, BAD}
    assert State().kept == frozenset()


# -- the operator's commands ------------------------------------------------------------------------------------------


def refused(state: State, command: Command) -> str:
    with pytest.raises(StateError) as caught:
        obey(state, command, NOW)
    return str(caught.value)


def test_a_refused_command_tells_the_operator_why_and_what_to_do():
    """The whole sentence is what a person acts on."""
    assert refused(State(), Command("rollback")) == "there is no earlier release on this device to go back to"
    assert refused(State(), Command("pin")) == "there is no release on this device that could be pinned"
    assert refused(TRYING, Command("pin", NEW)) == (
        "release bbbbbbbbbbbb is still being fetched and tried; pin it when it runs"
    )
    assert refused(IDLE, Command("rollback", NEW)) == (
        "release bbbbbbbbbbbb is left already: release aaaaaaaaaaaa runs now; nothing was changed"
    )
    assert refused(State(), Command("rollback", NEW)) == (
        "release bbbbbbbbbbbb is left already: no release runs; nothing was changed"
    )
    assert refused(State(), Command("pin", "0123456789abcdef" * 4)) == (
        "expected one of the releases kept on this device (none), but got 0123456789ab"
    )
    assert refused(State(current=NEW, previous=OLD), Command("pin", BAD)) == (
        "expected one of the releases kept on this device (aaaaaaaaaaaa, bbbbbbbbbbbb), but got eeeeeeeeeeee"
    )


def test_a_command_writes_the_time_of_the_change():
    """People read in the state since when a release runs."""
    assert obey(IDLE, Command("rollback"), NOW)[0].since == NOW
    assert obey(IDLE, Command("pin", BEFORE), NOW)[0].since == NOW


# -- which release is meant for this device ---------------------------------------------------------------------------


ASK = "to have it tried again, run: kizu deploy --again"


def answer(desired: DesiredState | None, **changes: object) -> Take | Keep:
    facts = {
        "device": "dev1",
        "use_case": "tags",
        "sequence_seen": 5,
        "running": OLD,
        "failed": {},
        "now": NOW,
    } | changes
    return choose(desired, **facts)


def desired(digest: str = NEW, *, sequence: int = 6, percent: float = 100.0, use_case: str = "tags") -> DesiredState:
    return DesiredState(
        sequence=sequence,
        use_case=use_case,
        waves=(Wave(release_digest=digest, percent=percent),),
        probation_s=60.0,
    )


def test_a_device_that_takes_nothing_says_the_reason_in_full():
    """The operator reads the message; the sequence is remembered only where the desired state was accepted."""
    assert answer(None) == Keep("no-desired-state", "nothing was published for this group yet", None)
    assert answer(desired(use_case="discs")) == Keep(
        "other-use-case", "the group's desired state is for 'discs', but this device inspects 'tags'", None
    )
    assert answer(desired(sequence=4)) == Keep(
        "rolled-back-sequence", "sequence 4 is lower than 5, which was seen before", None
    )
    assert answer(desired(percent=0.0)) == Keep("not-in-a-wave", "no wave includes this device yet", 6)
    assert answer(desired(OLD)) == Keep("up-to-date", "", 6)
    assert answer(desired(), failed={NEW: Refusal(6, "slow")}) == Keep("failed-before", f"slow; {ASK}", 6)
    assert answer(desired(), pinned="0123456789abcdef" * 4) == Keep("pinned", "to 0123456789ab by the operator", 6)


def test_what_lets_a_device_take_a_release():
    """An equal sequence is accepted. A failed release is accepted again under a sequence higher than its failure's."""
    assert answer(desired(sequence=5)) == Take(NEW, 5, 60.0)
    assert answer(desired(), failed={NEW: Refusal(5, "slow"), BAD: Refusal(9, "slow")}) == Take(
        NEW, 6, 60.0, again=True
    )
    assert answer(desired(), failed={NEW: Refusal(7, "slow")}) == Keep("failed-before", f"slow; {ASK}", 6)


def test_a_pinned_release_that_runs_and_is_asked_for_is_up_to_date():
    """The pin and the desired state agree."""
    assert answer(desired(OLD), pinned=OLD) == Keep("up-to-date", "", 6)
    assert answer(desired(percent=0.0), pinned=OLD) == Keep("pinned", f"to {OLD[:12]} by the operator", 6)
