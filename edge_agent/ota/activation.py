"""The activation of a release as a state machine: from a state and an event to the next state and an act. No I/O.

    idle ──Offered──▶ fetching ──Fetched──▶ trying ──TrialPassed──▶ pending ──Loaded──▶ probation ──Healthy──▶ idle
     ▲                   │                    │                        │                    │
     └──────────── Failed (remembered, or transient) ◀─────────────────┴── Unhealthy ◀──────┘

`current` changes only when a probation ends well. Until then every start runs `current`, so that going back needs no
decision and no write. The driver writes each new state to disk before it acts on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from edge_agent.ota.offer import FailedRelease

BY_OPERATOR: Final = "rolled back by the operator"
MAX_ATTEMPTS: Final = 3
"""How often an agent may die while it takes the same release, before that release is given up."""


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
    pinned: str | None = None
    """The release that the operator wants; while it is set, no other release is taken."""
    failed: Mapping[str, FailedRelease] = field(default_factory=dict)

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
    """The agent is stopping in order."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A desired state was accepted that asks for no new release."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Offered:
    """A desired state asks for this release."""

    digest: str
    sequence: int
    probation_s: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """All files of the release are on the disk, verified."""


@dataclass(frozen=True, slots=True)
class TrialPassed:
    """The release reproduced its golden samples within the latency budget, in a process of its own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The release is loaded in this process, and warmed up."""


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
    """The release on probation has run well for `elapsed_s` seconds, by a clock that never jumps."""

    elapsed_s: float


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
)


def decide(state: State, event: Event, now: datetime) -> tuple[State, Act]:
    """The next state, and what to do once it is on disk. An event that does not fit the phase changes nothing.

    Args:
        now: UTC.
    """
    match event, state.phase:
        case Booted(), _:
            return _boot(state, now)
        case Stopping(), Phase.PROBATION:
            return replace(state, phase=Phase.PAUSED, since=now), Act.NOTHING
        case Stopping(), Phase.FETCHING | Phase.TRYING | Phase.PENDING:
            return _idle(state, now), Act.NOTHING
        case Seen(sequence), Phase.IDLE:
            return replace(state, sequence=max(sequence, state.sequence)), Act.NOTHING
        case Offered(digest, sequence, probation_s), Phase.IDLE:
            return _offered(state, digest, sequence, probation_s, now), Act.FETCH
        case Fetched(), Phase.FETCHING:
            return replace(state, phase=Phase.TRYING, since=now), Act.TRY
        case TrialPassed(), Phase.TRYING:
            return replace(state, phase=Phase.PENDING, since=now), Act.LOAD
        case Loaded(), Phase.PENDING:
            return replace(state, phase=Phase.PROBATION, since=now), Act.RUN_PENDING
        case Failed(reason, transient), Phase.FETCHING | Phase.TRYING | Phase.PENDING:
            return (_idle(state, now) if transient else _given_up(state, reason, now)), Act.NOTHING
        case Unhealthy(reason), Phase.PROBATION:
            return _given_up(state, reason, now), Act.RUN_CURRENT
        case RolledBack(), _:
            return _rolled_back(state, now)
        case Pinned(digest), _:
            return _pinned(state, digest, now)
        case Unpinned(), _:
            return replace(state, pinned=None), Act.NOTHING
        case Healthy(elapsed_s), Phase.PROBATION if elapsed_s >= state.probation_s:
            return _committed(state, now), Act.CLEAN
        case _:
            return state, Act.NOTHING


def _boot(state: State, now: datetime) -> tuple[State, Act]:
    if state.phase is Phase.PAUSED:
        return replace(state, phase=Phase.PROBATION, since=now), Act.RUN_PENDING
    if state.phase is Phase.PROBATION:
        attempts = state.attempts + 1
        if state.current is None and attempts < MAX_ATTEMPTS:
            # There is no release to go back to, and a power cut is likelier than a release that kills its agent.
            return replace(state, since=now, attempts=attempts), Act.RUN_PENDING
        return _given_up(state, "the agent stopped without warning during probation", now), Act.RUN_CURRENT
    if state.phase is Phase.FETCHING:
        # The release was not run yet, so it cannot have ended the agent; a long download may see many power cuts.
        return _idle(state, now), Act.RUN_CURRENT
    if state.phase is not Phase.IDLE:
        attempts = state.attempts + 1
        if attempts >= MAX_ATTEMPTS:
            reason = f"the agent stopped {attempts} times without warning while {state.phase}"
            return _given_up(state, reason, now), Act.RUN_CURRENT
        return replace(_idle(state, now), attempts=attempts), Act.RUN_CURRENT
    return state, Act.RUN_CURRENT


def _offered(state: State, digest: str, sequence: int, probation_s: float, now: datetime) -> State:
    again = sequence == state.sequence
    return replace(
        state,
        pending=digest,
        phase=Phase.FETCHING,
        since=now,
        sequence=max(sequence, state.sequence),
        probation_s=probation_s,
        attempts=state.attempts if again else 0,
    )


def _rolled_back(state: State, now: datetime) -> tuple[State, Act]:
    if state.phase in (Phase.PROBATION, Phase.PAUSED):
        if state.current is None:
            return state, Act.NOTHING
        return replace(_given_up(state, BY_OPERATOR, now), pinned=None), Act.RUN_CURRENT
    target = next((item for item in (state.previous, state.factory) if item not in (None, state.current)), None)
    if target is None or state.current is None:
        return state, Act.NOTHING
    failed = {**state.failed, state.current: FailedRelease(state.sequence, BY_OPERATOR)}
    # The release that was left must not be gone back to; the factory release may.
    return replace(
        _idle(state, now), current=target, previous=None, pinned=None, failed=failed, attempts=0
    ), Act.RUN_CURRENT


def _pinned(state: State, digest: str, now: datetime) -> tuple[State, Act]:
    if digest not in state.kept:
        return state, Act.NOTHING
    if digest == state.running:
        return replace(state, pinned=digest), Act.NOTHING
    if state.phase is not Phase.IDLE:
        return state, Act.NOTHING  # an activation that is under way must end first
    return replace(
        _idle(state, now), current=digest, previous=state.current, pinned=digest, attempts=0
    ), Act.RUN_CURRENT


def _idle(state: State, now: datetime) -> State:
    return replace(state, pending=None, phase=Phase.IDLE, since=now)


def _given_up(state: State, reason: str, now: datetime) -> State:
    failed = dict(state.failed)
    if state.pending is not None:
        failed[state.pending] = FailedRelease(state.sequence, reason)
    return replace(_idle(state, now), failed=failed, attempts=0)


def _committed(state: State, now: datetime) -> State:
    failed = {digest: failure for digest, failure in state.failed.items() if digest != state.pending}
    return replace(
        _idle(state, now),
        current=state.pending,
        # A release that was damaged here and fetched again must not replace the previous release by itself.
        previous=state.current if state.current != state.pending else state.previous,
        factory=state.factory or state.pending,
        attempts=0,
        failed=failed,
    )
