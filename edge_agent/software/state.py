"""The state of the agent's software on disk: which slot runs, which was kept before, and what was refused.

The launcher reads the same file and writes it while no agent runs (`edge_agent/launcher.py`). `starts` is its count of
starts since the software last said that it is well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from edge_agent import __version__
from edge_agent.launcher import INSTALLED, MAX_STARTS
from edge_agent.ota.refusal import Refusal, refuse
from inspection.codec import Document, Part

SLOTS: Final = ("a", "b")
MAX_STOPS: Final = 5
"""How often the agent may be stopped in order on its probation before a stop counts as a failed start."""
_MOST_REFUSALS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp(Part):
    """What the launcher gave up; the next agent makes a refusal of it."""

    digest: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareState(Document):
    """What is known of the software. Releases of the agent are named by digest, slots by `a`, `b` and `installed`."""

    active: str = INSTALLED
    previous: str | None = None
    trial: str | None = None
    """New software that must still run well; the launcher starts it, a few times."""
    probation_s: float = 120.0
    starts: int = 0
    stops: int = 0
    slots: Mapping[str, str] = field(default_factory=dict)
    """What each slot holds, or will hold once its files are complete."""
    since: int = 0
    """The sequence under which the software on trial was ordered."""
    gave_up: GaveUp | None = None
    refused: Mapping[str, Refusal] = field(default_factory=dict)

    def digest_of(self, slot: str | None) -> str | None:
        """The release in a slot; None where no release put it there."""
        return self.slots.get(slot) if slot is not None else None

    def other(self, running: str) -> str:
        """The slot that new software goes to: never the one that runs, and the kept one only where it does not run."""
        free = [slot for slot in SLOTS if slot != running]
        return next((slot for slot in free if slot != self.active), free[0])


def booted(state: SoftwareState, now: datetime) -> SoftwareState:
    """The state after the start of an agent: what the launcher gave up becomes a refusal."""
    if state.gave_up is None:
        return state
    return replace(refused(state, state.gave_up.digest, state.gave_up.reason, state.since, now), gave_up=None)


def filling(state: SoftwareState, slot: str, digest: str, running: str) -> SoftwareState:
    """The state before a slot is filled: nobody goes back to what it held before. running: the slot that runs."""
    return replace(
        state,
        slots={**state.slots, slot: digest},
        active=running if state.active == slot else state.active,
        previous=None if slot == state.previous else state.previous,
    )


def on_trial(state: SoftwareState, slot: str, running: str, since: int, probation_s: float) -> SoftwareState:
    """The state that has the launcher start new software from a slot. running: the slot that runs, to come back to."""
    active = running if state.active == slot else state.active
    return replace(state, active=active, trial=slot, starts=0, stops=0, since=since, probation_s=probation_s)


def kept(state: SoftwareState) -> SoftwareState:
    """The state after a probation that ended well."""
    assert state.trial is not None
    digest = state.digest_of(state.trial)
    return replace(
        state,
        active=state.trial,
        previous=state.active,
        trial=None,
        starts=0,
        stops=0,
        refused={name: item for name, item in state.refused.items() if name != digest},
    )


def gone_back(state: SoftwareState, reason: str, now: datetime) -> SoftwareState:
    """The state after a probation that ended badly: the next start is that of the software before."""
    digest = state.digest_of(state.trial)
    after = replace(state, trial=None, starts=0, stops=0)
    return refused(after, digest, reason, state.since, now) if digest is not None else after


def refused(state: SoftwareState, digest: str, reason: str, since: int, now: datetime) -> SoftwareState:
    """The state that remembers a refusal. since: the sequence of the order under which it was tried."""
    found = dict(state.refused)
    before = found.pop(digest, None)
    found[digest] = refuse(before, reason, sequence=since, now=now, agent_version=__version__)
    return replace(state, refused=dict(list(found.items())[-_MOST_REFUSALS:]))


def stopped(state: SoftwareState, running: str) -> SoftwareState:
    """The state after an orderly stop: on probation the start does not count, up to `MAX_STOPS` times."""
    if state.trial is None or state.trial != running or state.stops >= MAX_STOPS:
        return state
    return replace(state, starts=max(0, state.starts - 1), stops=state.stops + 1)


def well(state: SoftwareState, running: str) -> SoftwareState:
    """The state once software that was kept runs well: the launcher starts it again next time."""
    turns = list(dict.fromkeys(slot for slot in (state.active, state.previous, INSTALLED) if slot))
    if running not in turns or not state.slots:
        return state
    # The count begins where this slot's turn begins. For the active slot that is 0.
    return replace(state, starts=turns.index(running) * MAX_STARTS)
