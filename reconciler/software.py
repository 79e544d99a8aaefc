"""Whether the rollout of the agent's software goes on: a rule over its plan and the devices' reports. Values only.

It is the rule of a release's rollout (`rollout.py`), over what devices report of their software: refused, its trial
failed, it went back, or it was kept. What comes first where a release is rolled out too is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from inspection.documents import AgentOrder, DesiredState, Reported
from inspection.report_parts import AgentState
from inspection.rollout import PausedFor, RolloutState, SoftwarePlan
from reconciler.rules import UnreadReport
from reconciler.stages import (
    DeviceOutcome,
    Judgement,
    Outcome,
    Progress,
    RolloutAct,
    failure_outcome,
    in_open_stages,
    next_step,
    stage_name,
    standing_still,
    too_many_failed,
    what_is_missing,
)

COMMAND: Final = "kizu agent"
_CANNOT_TAKE: Final = frozenset(
    {"no-build", "no-way-back", "newer-launcher-needed", "too-old", "not-launched", "waits-for-orchestrator"}
)
"""The words by which a device says that software is not for it, as it is now. They say nothing about the software."""
_WAITS_FOR_AGENT: Final = "waits-for-agent"


def judge_software(
    group: str, desired: DesiredState, reports: Iterable[Reported], unread: Iterable[UnreadReport], now: datetime
) -> Judgement:
    """Decide on the rollout of a group's software. Arguments as `judge_rollout`."""
    order = desired.agent
    plan = order.rollout if order is not None else None
    if order is None or plan is None:
        return Judgement(RolloutAct.NOTHING, "no software of the agent is rolled out by stages")
    of_group = [report for report in reports if report.counts_for(desired.use_case, group)]
    is_open = in_open_stages(plan)
    devices = [
        _outcome(plan, order, report, late=desired.is_late(report.reported_at, now))
        for report in of_group
        if is_open(report.device)
    ]
    devices += [
        DeviceOutcome(item.device, Outcome.UNREAD, item.reason)
        for item in unread
        if item.may_count_for(desired.use_case, group) and is_open(item.device)
    ]
    progress = Progress(tuple(sorted(devices, key=lambda item: item.device)))
    if plan.state is RolloutState.WAITING:
        return _first_stage(plan, desired, of_group, now)
    if plan.state is not RolloutState.RUNNING:
        return Judgement(RolloutAct.NOTHING, standing_still(plan, COMMAND), progress)
    if not devices and not of_group:
        return Judgement(RolloutAct.WAIT, f"no device of group {group} has reported yet", progress)
    return (
        too_many_failed(plan.stage, progress)
        or _nobody_can_take_it(plan, progress)
        or _complete(plan, progress, {report.device: report for report in of_group}, now)
    )


def software_goes_first(desired: DesiredState) -> SoftwarePlan | None:
    """The rollout of software that has begun and has stages left to open: no stage of a release is opened meanwhile."""
    plan = desired.agent.rollout if desired.agent is not None else None
    return plan if plan is not None and plan.opens_more else None


def _outcome(plan: SoftwarePlan, order: AgentOrder, report: Reported, *, late: bool) -> DeviceOutcome:
    digest, device, agent = plan.release_digest, report.device, report.agent
    if agent is None:
        return DeviceOutcome(device, Outcome.HELD, "its agent does not say which software it runs")
    word = agent.reason.partition(":")[0]
    if agent.release_digest == digest and agent.state in ("kept", "fixed"):
        return DeviceOutcome(device, Outcome.SUCCEEDED)
    if (found := _failure(agent, digest, order, seen=report.sequence_seen, late=late)) is not None:
        return DeviceOutcome(device, *found)
    if agent.wanted_digest == digest and word == "standby":
        return DeviceOutcome(device, Outcome.FAILED, agent.reason)
    if late:
        return DeviceOutcome(device, Outcome.LATE, f"last report at {report.reported_at:%Y-%m-%d %H:%M} UTC")
    if agent.wanted_digest == digest and word in _CANNOT_TAKE:
        return DeviceOutcome(device, Outcome.HELD, agent.reason)
    return DeviceOutcome(device, Outcome.ON_THE_WAY, agent.reason if agent.wanted_digest == digest else "")


def _failure(agent: AgentState, digest: str, order: AgentOrder, *, seen: int, late: bool) -> tuple[Outcome, str] | None:
    """What a refusal of this software means; None where it was not refused under this order, or the device is late."""
    if agent.failures is None:
        # An agent of before does not say under which order it refused.
        reason = agent.refused.get(digest)
        return (Outcome.FAILED, reason) if reason is not None and seen >= order.since else None
    failure = agent.failures.get(digest)
    if failure is None or failure.sequence < order.since:
        return None
    return failure_outcome(failure, late=late)


def _first_stage(plan: SoftwarePlan, desired: DesiredState, of_group: Sequence[Reported], now: datetime) -> Judgement:
    """Open the first stage once the rollout of a release opens no more, or waits for this software itself."""
    release = desired.rollout
    name = stage_name(plan.stage)
    if release is not None and release.opens_more:
        is_open = in_open_stages(release)
        left = [
            report
            for report in of_group
            if is_open(report.device)
            and not desired.is_late(report.reported_at, now)
            and (report.running_release != release.release_digest or report.pending_release is not None)
        ]
        if not left or any(not report.reason.startswith(_WAITS_FOR_AGENT) for report in left):
            why = f"the rollout of version {release.version} comes first; {name} is opened after its last wave"
            return Judgement(RolloutAct.WAIT, why)
    if not plan.may_open(now):
        return Judgement(RolloutAct.WAIT, f"{name} is opened in a maintenance window")
    return Judgement(RolloutAct.ADVANCE, f"{name} is opened: no rollout of a release stands before it")


def _nobody_can_take_it(plan: SoftwarePlan, progress: Progress) -> Judgement | None:
    """A question to a person, where no device of the open stages can take the software: nothing tells how it does."""
    held = [item for item in progress.devices if item.outcome is Outcome.HELD]
    if plan.go_on or not held or len(held) < len(progress.devices):
        return None
    reasons = "; ".join(f"{item.device}: {item.reason}" for item in held[:3])
    why = f"inconclusive: no device of {stage_name(plan.stage)} can take it: {reasons}"
    return Judgement(RolloutAct.PAUSE, why, progress, paused_for=PausedFor.INCONCLUSIVE)


def _complete(plan: SoftwarePlan, progress: Progress, reports: dict[str, Reported], now: datetime) -> Judgement:
    """Go on where the open stage has what it asks; else wait, or pause for a person."""
    missing = what_is_missing(plan, progress, now)
    held_only = plan.go_on and all(item.outcome is Outcome.HELD for item in progress.devices) and progress.devices
    if missing is not None and not held_only:
        return Judgement(RolloutAct.WAIT, missing, progress)
    if not plan.go_on and (doubt := _inspects_nothing(plan, progress, reports)) is not None:
        return doubt
    return next_step(plan, progress, now)


def _inspects_nothing(plan: SoftwarePlan, progress: Progress, reports: dict[str, Reported]) -> Judgement | None:
    """A question to a person, where devices that have kept the software inspect nothing now: perhaps by a camera."""
    silent = [
        (item.device, problem)
        for item in progress.devices
        if item.outcome is Outcome.SUCCEEDED and (problem := reports[item.device].problem)
    ]
    if not silent or len(silent) <= plan.stage.failure_share * max(progress.expected, 1):
        return None
    reasons = "; ".join(f"{device}: {problem}" for device, problem in silent[:3])
    why = f"inconclusive: {len(silent)} device(s) that have kept it inspect nothing now: {reasons}"
    return Judgement(RolloutAct.PAUSE, why, progress, paused_for=PausedFor.INCONCLUSIVE)


def behind_software(judgement: Judgement, desired: DesiredState) -> Judgement:
    """The judgement of a release's rollout, which opens no stage while software has stages left to open."""
    software = software_goes_first(desired)
    if judgement.act is not RolloutAct.ADVANCE or software is None:
        return judgement
    why = f"{judgement.why}; the next wave waits for the rollout of the agent's software {software.version}"
    return replace(judgement, act=RolloutAct.WAIT, why=why)
