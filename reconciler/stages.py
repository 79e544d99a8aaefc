"""What an open stage of a rollout asks, and whether it has it: rules that releases and the agent's software share.

They use values only. `rollout.py` and `software.py` say what has become of a release, or of software, on each device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from inspection.documents import Wave
from inspection.report_parts import FailedRelease
from inspection.rollout import PausedFor, RolloutState, Stage, StagedPlan
from reconciler.line_comparison import Comparison

MOST_NAMED: Final = 20
"""Devices that a stop names at most."""
_TRIES: Final = 3
"""From so many tries on, a cause that may pass counts as a failure."""


class Outcome(StrEnum):
    """What became of a release, or of software, on one device of an open stage."""

    SUCCEEDED = "succeeded"
    """The device has kept it."""
    FAILED = "failed"
    """The device refused it, or went back from it."""
    ON_THE_WAY = "on-the-way"
    """The device has not come to an end with it."""
    HELD = "held"
    """Something stands in its way: the operator pinned another release, or this device cannot take the software."""
    LATE = "late"
    """The device has not reported for too long."""
    UNREAD = "unread"
    """Its report cannot be read."""


@dataclass(frozen=True, slots=True)
class DeviceOutcome:
    """One device of an open stage. reason: why it has failed, is held, or cannot be read."""

    device: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the open stage has come. frames: inspected with the release by the stage's devices, as they report."""

    devices: tuple[DeviceOutcome, ...] = ()
    frames: int = 0
    comparisons: tuple[Comparison, ...] = ()

    def count(self, *outcomes: Outcome) -> int:
        """How many devices have one of these outcomes."""
        return sum(item.outcome in outcomes for item in self.devices)

    @property
    def executed(self) -> int:
        """Devices that have succeeded or failed."""
        return self.count(Outcome.SUCCEEDED, Outcome.FAILED)

    @property
    def expected(self) -> int:
        """Devices that the shares are of: all but late ones, held ones and those whose report cannot be read."""
        return self.executed + self.count(Outcome.ON_THE_WAY)


class RolloutAct(StrEnum):
    """What follows."""

    ADVANCE = "advance"
    FINISH = "finish"
    PAUSE = "pause"
    STOP = "stop"
    WAIT = "wait"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows from the reports. why: one line for a person. devices: those that a stop names."""

    act: RolloutAct
    why: str
    progress: Progress = Progress()
    devices: tuple[str, ...] = ()
    paused_for: PausedFor | None = None


def in_open_stages(plan: StagedPlan) -> Callable[[str], bool]:
    """Whether a device has been asked by now: by name or by hash."""
    named, share = frozenset(plan.named()), Wave(release_digest=plan.release_digest, percent=plan.percent())
    return lambda device: device in named or share.includes(device)


def standing_still(plan: StagedPlan, command: str) -> str:
    """Why nothing follows from the reports. command: what a person runs, `kizu deploy` or `kizu agent`."""
    said = f": {plan.reason}" if plan.reason else ""
    by = f" by {plan.by}" if plan.by else ""
    if plan.state is RolloutState.PAUSED:
        back = "revert" if command.endswith("deploy") else "stop"
        return f"paused{by}{said}; run: {command} resume, or: {command} {back}"
    if plan.state is RolloutState.PINNED:
        return f"pinned{by}{said}; run: {command} resume to end it"
    return f"{plan.state}{by}{said}"


def failure_outcome(failure: FailedRelease, *, late: bool) -> tuple[Outcome, str] | None:
    """What a refusal under the present order means; None where the device is only late."""
    if not failure.transient or failure.attempts >= _TRIES:
        return Outcome.FAILED, failure.reason
    return None if late else (Outcome.ON_THE_WAY, f"it tries again after: {failure.reason}")


def too_many_failed(stage: Stage, progress: Progress) -> Judgement | None:
    """A stop, where so many devices have failed that the stage cannot end well."""
    failed = [item for item in progress.devices if item.outcome is Outcome.FAILED]
    of = max(progress.expected, 1)
    if not failed or len(failed) <= stage.failure_share * of:
        return None
    reasons = "; ".join(f"{item.device}: {item.reason}" for item in failed[:3])
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    why = f"{len(failed)} of {of} device(s) failed, more than {stage.failure_share:.0%}: {reasons}{more}"
    return Judgement(RolloutAct.STOP, why, progress, tuple(item.device for item in failed[:MOST_NAMED]))


def what_is_missing(plan: StagedPlan, progress: Progress, now: datetime) -> str | None:
    """What the open stage lacks; None where it has all that it asks."""
    stage, name = plan.stage, stage_name(plan.stage)
    open_s = (now - plan.opened_at).total_seconds()
    if open_s < stage.min_s:
        return f"{name} is open for {open_s:.0f} of {stage.min_s:.0f} s"
    if not progress.devices:
        # Nobody can fail in an empty stage; but one that names its devices, or the last one, waits for them.
        named = bool(stage.devices) or plan.is_last
        return f"{name}: no device of it has reported yet" if named else None
    wanted = min(stage.min_executed, len(progress.devices))
    if progress.executed < wanted:
        return f"{name}: {progress.executed} of {wanted} device(s) have come to an end; {said(progress)}"
    succeeded = progress.count(Outcome.SUCCEEDED)
    if succeeded < stage.success_share * progress.expected:
        share = f"{stage.success_share:.0%}"
        return f"{name}: {succeeded} of {progress.expected} succeeded, {share} are asked; {said(progress)}"
    if progress.frames < stage.min_frames:
        return f"{name}: {progress.frames} of {stage.min_frames} frames came"
    return None


def next_step(plan: StagedPlan, progress: Progress, now: datetime, remark: str = "") -> Judgement:
    """What follows where the open stage has what it asks: ask a person, finish, open the next, or wait for a window.

    remark: what the decision says besides.
    """
    name = stage_name(plan.stage)
    if plan.stage.by_hand and not plan.is_last and not plan.go_on:
        why = f"{name} is complete, and a person opens the next"
        return Judgement(RolloutAct.PAUSE, why, progress, paused_for=PausedFor.BY_HAND)
    if plan.is_last:
        return Judgement(RolloutAct.FINISH, f"{name}, the last, is complete{remark}", progress)
    if not plan.may_open(now):
        why = f"{name} is complete; the next is opened in a maintenance window"
        return Judgement(RolloutAct.WAIT, why, progress)
    return Judgement(RolloutAct.ADVANCE, f"{name} is complete: {said(progress)}{remark}", progress)


def stage_name(stage: Stage) -> str:
    """How a person calls a stage."""
    return "the canary" if not stage.percent else f"the wave of {stage.percent:g} %"


def said(progress: Progress) -> str:
    """How the devices of the open stage stand, as one line."""
    words = [f"{count} {outcome}" for outcome in Outcome if (count := progress.count(outcome))]
    return ", ".join(words) or "no device"
