"""The activation of a release as a state machine: from a state and an event to the next state and an act. No I/O.

    idle ──Offered──▶ fetching ──Fetched──▶ trying ──TrialPassed──▶ pending ──Loaded──▶ probation ──Healthy──▶ idle
     ▲                   │                    │                        │                    │
     └──────────── Failed (remembered, or transient) ◀─────────────────┴── Unhealthy ◀──────┘

`current` changes only when a probation ends well. Until then every start runs `current`, so that going back needs no
decision and no write. The driver writes each new state to disk before it acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from edge_agent import __version__
from edge_agent.ota.probation import NOTHING_SEEN, Tally
from edge_agent.ota.refusal import BY_OPERATOR, STOPPED, STOPPED_OFTEN, VERDICT_SHARE, Refusal, refuse

MAX_ATTEMPTS: Final = 3
"""How often an agent may die with its first release on probation, before that release waits."""
MAX_STOPS: Final = 5
"""How often the agent may be stopped in order while it tries the same release, before that release waits."""
_MOST_REFUSALS: Final = 50


class Phase(StrEnum):
    """How far an activation has come."""

    IDLE = "idle"
    FETCHING = "fetching"
    TRYING = "trying"
    PENDING = "pending"
    PROBATION = "probation"
    PAUSED = "paused"
    """A probation that an orderly stop interrupted; it starts again from the beginning at the next start."""


class Act(StrEnum):
    """What the driver does after the state is on disk."""

    NOTHING = "nothing"
    FETCH = "fetch"
    TRY = "try"
    LOAD = "load"
    RUN_PENDING = "run-pending"
    RUN_CURRENT = "run-current"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class State:
    """The state on disk. Releases are named by digest. People read `since`; the driver measures durations itself."""

    current: str | None = None
    previous: str | None = None
    factory: str | None = None
    pending: str | None = None
    phase: Phase = Phase.IDLE
    since: datetime | None = None
    sequence: int = 0
    probation_s: float = 120.0
    attempts: int = 0
    stops: int = 0
    """Orderly stops in a row that interrupted the trial, or the least time of the probation."""
    pinned: str | None = None
    """The release that the operator wants; while it is set, no other release is taken."""
    former: Tally | None = None
    """What the release that ran before had decided when this probation began."""
    seen: Tally = NOTHING_SEEN
    """What the release on probation decided before the agent was stopped in order."""
    waited_s: float = 0.0
    """How long the probation had lasted until then."""
    accepted: str | None = None
    """The release that was ordered again after its verdicts were refused: they are not compared once more."""
    note: str = ""
    """What the report must say of `current`, such as that it is kept without enough frames."""
    failed: Mapping[str, Refusal] = field(default_factory=dict)

    @property
    def running(self) -> str | None:
        """The release that inspects."""
        return self.pending if self.phase in (Phase.PROBATION, Phase.PAUSED) else self.current

    @property
    def kept(self) -> frozenset[str]:
        """The releases whose files must stay on the disk."""
        return frozenset(
            item for item in (self.current, self.previous, self.factory, self.pending, self.pinned) if item
        )


@dataclass(frozen=True, slots=True)
class Booted:
    """The agent has started."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The agent is stopping in order. ran_s, seen: of the release on probation, since the start."""

    ran_s: float = 0.0
    seen: Tally = NOTHING_SEEN


@dataclass(frozen=True, slots=True)
class Seen:
    """A desired state was accepted that asks for no new release."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Offered:
    """A desired state asks for this release. again: what was held against it before no longer counts."""

    digest: str
    sequence: int
    probation_s: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """All files of the release are on the disk, verified."""


@dataclass(frozen=True, slots=True)
class TrialPassed:
    """The release reproduced its golden samples within the latency budget, in a process of its own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The release is loaded in this process, and warmed up. former: what the running release has decided."""

    former: Tally | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A step failed. transient: the release itself may be good."""

    reason: str
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """The release on probation failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Healthy:
    """The release on probation has run well for `elapsed_s` seconds, by a clock that never jumps.

    note: what the report must say of it once it is kept.
    """

    elapsed_s: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Superseded:
    """Another release was ordered while the one on probation waited for frames."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The operator wants to go back to the previous release."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """The operator wants this release, which must be on the device, and no other."""

    digest: str


@dataclass(frozen=True, slots=True)
class Unpinned:
    """The operator wants new releases to be taken again."""


Event = (
    RolledBack
    | Pinned
    | Unpinned
    | Booted
    | Stopping
    | Seen
    | Offered
    | Fetched
    | TrialPassed
    | Loaded
    | Failed
    | Unhealthy
    | Healthy
    | Superseded
)


def decide(state: State, event: Event, now: datetime, agent_version: str = __version__) -> tuple[State, Act]:
    """The next state, and what to do once it is on disk. An event that does not fit the phase changes nothing.

    Args:
        now: UTC.
        agent_version: of this agent, which a refusal remembers.
    """

    def given_up(state: State, reason: str) -> State:
        return _given_up(state, reason, now, agent_version)

    match event, state.phase:
        case Booted(), _:
            return _boot(state, now, given_up)
        case Stopping(), Phase.TRYING | Phase.PENDING | Phase.PROBATION:
            return _stopped(state, event, now, given_up), Act.NOTHING
        case Stopping(), Phase.FETCHING:
            return _idle(state, now), Act.NOTHING
        case Seen(sequence), Phase.IDLE:
            return replace(state, sequence=max(sequence, state.sequence)), Act.NOTHING
        case Offered(), Phase.IDLE:
            return _offered(state, event, now), Act.FETCH
        case Fetched(), Phase.FETCHING:
            return replace(state, phase=Phase.TRYING, since=now), Act.TRY
        case TrialPassed(), Phase.TRYING:
            return replace(state, phase=Phase.PENDING, since=now), Act.LOAD
        case Loaded(former), Phase.PENDING:
            return replace(state, phase=Phase.PROBATION, since=now, former=former), Act.RUN_PENDING
        case Failed(reason, transient), Phase.FETCHING | Phase.TRYING | Phase.PENDING:
            return (_idle(state, now) if transient else given_up(state, reason)), Act.NOTHING
        case Unhealthy(reason), Phase.PROBATION:
            return given_up(state, reason), Act.RUN_CURRENT
        case RolledBack(), _:
            return _rolled_back(state, now, given_up, agent_version)
        case Pinned(digest), _:
            return _pinned(state, digest, now)
        case Unpinned(), _:
            return replace(state, pinned=None), Act.NOTHING
        case Healthy(elapsed_s, note), Phase.PROBATION if elapsed_s >= state.probation_s:
            return _committed(state, note, now), Act.CLEAN
        case Superseded(), Phase.PROBATION if state.current is not None:
            return _idle(state, now), Act.RUN_CURRENT
        case _:
            return state, Act.NOTHING


_GivenUp = Callable[[State, str], State]


def _boot(state: State, now: datetime, given_up: _GivenUp) -> tuple[State, Act]:
    if state.phase is Phase.PAUSED:
        return replace(state, phase=Phase.PROBATION, since=now), Act.RUN_PENDING
    if state.phase is Phase.FETCHING:
        # The release was not run yet, so it cannot have ended the agent; a long download may see many power cuts.
        return _idle(state, now), Act.RUN_CURRENT
    if state.phase is Phase.IDLE:
        return state, Act.RUN_CURRENT
    attempts = state.attempts + 1
    if state.phase is Phase.PROBATION and state.current is None and attempts < MAX_ATTEMPTS:
        # There is no release to go back to, and a power cut is likelier than a release that kills its agent.
        return replace(state, since=now, attempts=attempts), Act.RUN_PENDING
    during = "during probation" if state.phase is Phase.PROBATION else f"while {state.phase}"
    return given_up(state, f"{STOPPED}: without warning {during}"), Act.RUN_CURRENT


def _stopped(state: State, stopping: Stopping, now: datetime, given_up: _GivenUp) -> State:
    on_probation = state.phase is Phase.PROBATION
    paused = replace(
        state,
        phase=Phase.PAUSED,
        since=now,
        seen=state.seen.plus(stopping.seen),
        waited_s=state.waited_s + stopping.ran_s,
    )
    if on_probation and stopping.ran_s >= state.probation_s:
        return replace(paused, stops=0)  # it waits for frames, and the shift is over
    stops = state.stops + 1
    if stops >= MAX_STOPS:
        # A supervisor that ends the agent in order, because a trial takes all memory, would do so for ever.
        return given_up(state, f"{STOPPED_OFTEN}: {stops} times in order, while {state.phase}")
    if on_probation:
        return replace(paused, stops=stops)
    return replace(_idle(state, now), stops=stops)


def _offered(state: State, offered: Offered, now: datetime) -> State:
    failed = {digest: refusal for digest, refusal in state.failed.items() if digest != offered.digest}
    refusal = state.failed.get(offered.digest)
    looked_at = offered.again and refusal is not None and refusal.reason.startswith(VERDICT_SHARE)
    new = offered.again or offered.sequence != state.sequence
    return replace(
        state,
        pending=offered.digest,
        phase=Phase.FETCHING,
        since=now,
        sequence=max(offered.sequence, state.sequence),
        probation_s=offered.probation_s,
        attempts=0 if new else state.attempts,
        stops=0 if new else state.stops,
        failed=failed if offered.again else state.failed,
        accepted=offered.digest if looked_at else state.accepted,
    )


def _rolled_back(state: State, now: datetime, given_up: _GivenUp, agent_version: str) -> tuple[State, Act]:
    if state.phase in (Phase.PROBATION, Phase.PAUSED):
        if state.current is None:
            return state, Act.NOTHING
        return replace(given_up(state, BY_OPERATOR), pinned=None), Act.RUN_CURRENT
    target = next((item for item in (state.previous, state.factory) if item not in (None, state.current)), None)
    if target is None or state.current is None:
        return state, Act.NOTHING
    left = refuse(None, BY_OPERATOR, sequence=state.sequence, now=now, agent_version=agent_version)
    # The release that was left must not be gone back to; the factory release may.
    return replace(
        _idle(state, now),
        current=target,
        previous=None,
        pinned=None,
        note="",
        failed={**state.failed, state.current: left},
        attempts=0,
        stops=0,
    ), Act.RUN_CURRENT


def _pinned(state: State, digest: str, now: datetime) -> tuple[State, Act]:
    taken_in = state.phase in (Phase.FETCHING, Phase.TRYING, Phase.PENDING)
    if digest not in state.kept or (taken_in and digest not in replace(state, pending=None).kept):
        return state, Act.NOTHING  # it is not here, or not yet whole and tried
    if digest == state.running:
        # What runs is kept; what was about to take its place is let go.
        return replace(_idle(state, now) if taken_in else state, pinned=digest), Act.NOTHING
    after = replace(_idle(state, now), pinned=digest, attempts=0, stops=0)
    if digest == state.current:
        return after, Act.RUN_CURRENT  # in a probation: back to the release that ran before
    return replace(after, current=digest, previous=state.current, note=""), Act.RUN_CURRENT


def _idle(state: State, now: datetime) -> State:
    return replace(state, pending=None, phase=Phase.IDLE, since=now, former=None, seen=NOTHING_SEEN, waited_s=0.0)


def _given_up(state: State, reason: str, now: datetime, agent_version: str) -> State:
    failed = dict(state.failed)
    if state.pending is not None:
        before = failed.pop(state.pending, None)
        failed[state.pending] = refuse(before, reason, sequence=state.sequence, now=now, agent_version=agent_version)
    latest = sorted(failed, key=lambda digest: failed[digest].sequence)[-_MOST_REFUSALS:]
    return replace(_idle(state, now), failed={digest: failed[digest] for digest in latest}, attempts=0, stops=0)


def _committed(state: State, note: str, now: datetime) -> State:
    failed = {digest: refusal for digest, refusal in state.failed.items() if digest != state.pending}
    return replace(
        _idle(state, now),
        current=state.pending,
        # A release that was damaged here and fetched again must not replace the previous release by itself.
        previous=state.current if state.current != state.pending else state.previous,
        factory=state.factory or state.pending,
        attempts=0,
        stops=0,
        failed=failed,
        accepted=None,
        note=note,
    )
