"""The next desired state of a group: a rollout begins, or goes one step on. Rules over values; the signer signs.

A rollout opens its stages one after the other. In a desired state the devices of open stages get the release, and all
others the former one. Nothing here looks at devices: the reconciler does, and asks for a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from components.use_case import Rollout
from inspection.documents import DesiredState, Release, Wave
from inspection.rollout import PausedFor, RolloutPlan, RolloutState, Stage, StagedPlan

PlanT = TypeVar("PlanT", bound=StagedPlan)
MAX_REASON: Final = 500
"""Characters of a reason that are kept."""


class StepRefused(ValueError):
    """The rollout cannot take this step. The message says why, and what can be done."""


class Step(StrEnum):
    """What a rollout can be asked to do."""

    ADVANCE = "advance"
    """Open the next stage."""
    FINISH = "finish"
    """Every stage has had what it asked."""
    PAUSE = "pause"
    """Open nothing until somebody resumes."""
    RESUME = "resume"
    """Go on; end a pin."""
    STOP = "stop"
    """Ask all devices to run the former release."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One step that is asked for.

    Args:
        step: which.
        sequence: of the desired state that the caller has seen: a step asked twice, or too late, is refused.
        by: who asks: an account, or `reconciler`.
        reason: why, for people.
        devices: those that a stop names.
        paused_for: why it pauses.
    """

    step: Step
    sequence: int
    by: str
    reason: str = ""
    devices: tuple[str, ...] = ()
    paused_for: PausedFor = PausedFor.PERSON


@dataclass(frozen=True, slots=True)
class Order:
    """An order for a release.

    Args:
        again: order it anew, so that devices that refused it try it once more.
        at_once: open all stages.
        pin: no other release is rolled out until somebody resumes.
        whatever_is_pinned: a pin does not stand in the way.
        sequence_above: the next sequence lies above this number.
        by, reason: who pins, and why.
    """

    again: bool = False
    at_once: bool = False
    pin: bool = False
    whatever_is_pinned: bool = False
    sequence_above: int = 0
    by: str = ""
    reason: str = ""


def begin(
    release: Release, rollout: Rollout, current: DesiredState | None, order: Order, now: datetime
) -> DesiredState:
    """The desired state that orders a release; the current one where that orders it already.

    A rollout that is under way for another release is overtaken: its devices go back to the last release that all
    devices were asked to run, until their stage opens again.

    Raises:
        StepRefused: the release was stopped before, another one is pinned, or the agent's software is being rolled out
            and has stages left to open.
    """
    digest = release.digest
    plan = current.rollout if current is not None else None
    sequence = max(current.sequence if current else 0, order.sequence_above) + 1
    pinned = plan is not None and plan.state is RolloutState.PINNED and plan.release_digest != digest
    if plan is not None and pinned and not (order.pin or order.whatever_is_pinned):
        raise StepRefused(
            f"version {plan.version} is pinned{said_by(plan)}, so that version {release.version} is not rolled out; "
            "to end that, run: kizu deploy resume"
        )
    everywhere = plan is not None and plan.is_last
    if current is not None and current.ordered == digest and not order.at_once and (everywhere or not order.pin):
        if plan is None and not order.again and current.probation_s == rollout.probation_s:
            return current
        if plan is not None:
            state = RolloutState.PINNED if order.pin else plan.state
            kept = replace(plan, state=state, by=order.by, reason=short(order.reason)) if order.pin else plan
            if kept == plan and not order.again:
                return current
            again = sequence if order.again else current.asked_since
            return replace(current, sequence=sequence, rollout=kept, waves=waves_of(kept), again=again)
    if plan is not None and plan.release_digest == digest and plan.state is RolloutState.STOPPED and not order.again:
        raise StepRefused(
            f"the rollout of version {release.version} was stopped{said_by(plan)}: {plan.reason}; "
            "where it is right after all, order it with --again"
        )
    software = current.agent.rollout if current is not None and current.agent is not None else None
    if software is not None and software.opens_more and not (order.at_once or order.pin):
        raise StepRefused(
            f"the agent's software {software.version} is being rolled out in this group, and a release would make it "
            "unclear what a fault comes from; wait for its last stage, or run: kizu agent stop (see: kizu agent status)"
        )
    former = _former(current, digest)
    begun = RolloutPlan(
        version=release.version,
        release_digest=digest,
        former_digest=former,
        stages=all_at_once(rollout) if order.at_once or order.pin else rollout.to_stages(),
        open_stage=0,
        opened_at=now,
        began_at=now,
        state=RolloutState.PINNED if order.pin else RolloutState.RUNNING,
        by=order.by,
        reason=short(order.reason),
        line=rollout.to_bounds(),
        windows=rollout.to_windows(),
        time_zone=rollout.time_zone,
    )
    ordered = not order.again and current is not None and current.ordered == digest
    return DesiredState(
        sequence=sequence,
        use_case=release.use_case,
        waves=waves_of(begun),
        probation_s=rollout.probation_s,
        report_timeout_s=rollout.report_timeout_s,
        again=current.asked_since if ordered and current is not None else sequence,
        rollout=begun,
        shadow=current.shadow if current is not None else None,
        agent=current.agent if current is not None else None,
    )


def without_former(state: DesiredState) -> DesiredState:
    """The same order with no release to go back to: the former one is not in this repository."""
    assert state.rollout is not None
    plan = replace(state.rollout, former_digest=None)
    return replace(state, rollout=plan, waves=waves_of(plan))


def _former(current: DesiredState | None, digest: str) -> str | None:
    """The last release that all devices were asked to run; None where that is none, or the release itself."""
    if current is None:
        return None
    plan = current.rollout
    if plan is None:
        former = current.ordered
    elif plan.state is RolloutState.STOPPED or not (plan.is_last or plan.state is RolloutState.DONE):
        former = plan.former_digest
    else:
        former = plan.release_digest
    return former if former != digest else None


def take(current: DesiredState, asked: Asked, now: datetime) -> DesiredState:
    """The desired state after one step of its rollout.

    Raises:
        StepRefused: the step does not fit, or the desired state has changed since the caller looked.
    """
    plan = current.rollout
    where = f"{current.use_case} version {plan.version}" if plan else current.use_case
    if plan is None:
        raise StepRefused(f"{where}: all devices were asked at once, so there is no rollout to {asked.step}")
    after = step_of(plan, current.sequence, asked, now, where)
    return replace(
        current, sequence=current.sequence + 1, waves=waves_of(after), rollout=after, again=current.asked_since
    )


def step_of(plan: PlanT, sequence: int, asked: Asked, now: datetime, where: str) -> PlanT:
    """A plan after one step. sequence: of the desired state that holds it. where: what it is the plan of, for errors.

    Raises:
        StepRefused: the step does not fit, or the desired state has changed since the caller looked.
    """
    if sequence != asked.sequence:
        raise StepRefused(
            f"{where}: expected to {asked.step} at sequence {asked.sequence}, but it is at {sequence} by now; "
            "look again, and repeat it where it is still right"
        )
    return replace(_taken(plan, asked, now, where), by=asked.by, reason=short(asked.reason))


def _taken(plan: PlanT, asked: Asked, now: datetime, where: str) -> PlanT:
    going = plan.state in (RolloutState.RUNNING, RolloutState.PAUSED)
    match asked.step:
        case Step.ADVANCE | Step.RESUME if plan.state is RolloutState.WAITING:
            return replace(plan, opened_at=now, state=RolloutState.RUNNING)
        case Step.STOP if plan.state is RolloutState.WAITING:
            return replace(plan, state=RolloutState.STOPPED)
        case Step.ADVANCE if going and not plan.is_last:
            return replace(
                plan, open_stage=plan.open_stage + 1, opened_at=now, state=RolloutState.RUNNING, paused_for=None,
                go_on=False,
            )  # fmt: skip
        case Step.FINISH if plan.state is RolloutState.RUNNING and plan.is_last:
            return replace(plan, state=RolloutState.DONE)
        case Step.PAUSE if plan.state is RolloutState.RUNNING:
            return replace(plan, state=RolloutState.PAUSED, paused_for=asked.paused_for)
        case Step.RESUME if plan.state is RolloutState.PAUSED:
            go_on = plan.go_on or plan.paused_for in (PausedFor.BY_HAND, PausedFor.INCONCLUSIVE)
            return replace(plan, state=RolloutState.RUNNING, paused_for=None, go_on=go_on)
        case Step.RESUME if plan.state is RolloutState.PINNED:
            return replace(plan, state=RolloutState.DONE)
        case Step.STOP if going or (plan.former_digest and plan.state is not RolloutState.STOPPED):
            return replace(plan, state=RolloutState.STOPPED, paused_for=None, devices=asked.devices)
        case Step.STOP if plan.state is not RolloutState.STOPPED:
            raise StepRefused(f"{where} is the first release of this group: there is none to go back to")
    stage = f"stage {plan.open_stage + 1} of {len(plan.stages)}"
    raise StepRefused(f"{where}: cannot {asked.step} a rollout that is {plan.state} ({stage})")


def waves_of(plan: StagedPlan) -> tuple[Wave, ...]:
    """What a plan asks of which devices now, in the form that devices read."""
    former = (Wave(percent=100.0, release_digest=plan.former_digest),) if plan.former_digest else ()
    if plan.state is RolloutState.STOPPED:
        return former
    named, percent, digest = plan.named(), plan.percent(), plan.release_digest
    by_name = (Wave(devices=named, release_digest=digest),) if named else ()
    by_share = (Wave(percent=percent, release_digest=digest),) if percent else ()
    return (*by_name, *by_share, *(former if percent < 100.0 else ()))


def all_at_once(rollout: Rollout) -> tuple[Stage, ...]:
    """The one stage of an order that goes to all devices."""
    return (replace(rollout.to_stages()[-1], percent=100.0, devices=rollout.canary),)


def said_by(plan: StagedPlan) -> str:
    """Who brought a plan to its state, as the end of a phrase; empty for nobody."""
    return f" by {plan.by}" if plan.by else ""


def short(reason: str) -> str:
    """A reason as it is kept."""
    return reason if len(reason) <= MAX_REASON else reason[: MAX_REASON - 1] + "…"
