"""Whether a rollout goes on: a rule over its plan and the devices' reports. It uses values only.

A stage is open. Its devices have succeeded, failed, or are on the way. The rule stops the rollout where too many have
failed, or where the release is worse on the line than the former one; it opens the next stage where the open one has
what it asks; it pauses where a person must decide; else it waits, and says for what.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from inspection.documents import DesiredState, Reported
from inspection.rollout import NotComparable, PausedFor, RolloutPlan, RolloutState
from reconciler.line_comparison import Lacking, Line, compare, tally_of
from reconciler.rules import UnreadReport
from reconciler.software import behind_software
from reconciler.stages import (
    MOST_NAMED,
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


def judge_rollout(
    group: str, desired: DesiredState, reports: Iterable[Reported], unread: Iterable[UnreadReport], now: datetime
) -> Judgement:
    """Decide on a group's rollout.

    Args:
        group: of the devices.
        desired: the group's desired state.
        reports: the latest report of each device, of all groups.
        unread: the devices whose report cannot be relied on.
        now: UTC.
    """
    plan = desired.rollout
    if plan is None:
        return Judgement(RolloutAct.NOTHING, "all devices were asked at once, without a plan")
    of_group = [report for report in reports if report.counts_for(desired.use_case, group)]
    is_open = in_open_stages(plan)
    own = [report for report in of_group if is_open(report.device)]
    missing = [
        DeviceOutcome(item.device, Outcome.UNREAD, item.reason)
        for item in unread
        if item.may_count_for(desired.use_case, group) and is_open(item.device)
    ]
    progress = _progress(plan, desired, own, missing, now)
    if plan.state is not RolloutState.RUNNING:
        return Judgement(RolloutAct.NOTHING, standing_still(plan, "kizu deploy"), progress)
    if not of_group and not missing:
        # An empty bucket looks the same: it must not open one stage after the other.
        return Judgement(RolloutAct.WAIT, f"no device of group {group} has reported yet", progress)
    judgement = too_many_failed(plan.stage, progress) or _worse(progress) or _complete(plan, progress, now)
    return behind_software(judgement, desired)


def _progress(
    plan: RolloutPlan, desired: DesiredState, own: Sequence[Reported], missing: list[DeviceOutcome], now: datetime
) -> Progress:
    devices = [_outcome(plan, desired, report, desired.is_late(report.reported_at, now)) for report in own]
    counting = {item.device for item in devices if item.outcome in (Outcome.SUCCEEDED, Outcome.ON_THE_WAY)}
    tallies = [tally for report in own if (tally := tally_of(report, plan.release_digest)) is not None]
    return Progress(
        tuple(sorted([*devices, *missing], key=lambda item: item.device)),
        sum(tally.frames for tally in tallies),
        compare(plan, own, counting),
    )


def _outcome(plan: RolloutPlan, desired: DesiredState, report: Reported, late: bool) -> DeviceOutcome:
    digest, device = plan.release_digest, report.device
    if report.running_release == digest and report.pending_release is None:
        return DeviceOutcome(device, Outcome.SUCCEEDED)
    failure = (report.failures or {}).get(digest)
    if failure is not None and failure.sequence >= desired.asked_since:
        if (found := failure_outcome(failure, late=late)) is not None:
            return DeviceOutcome(device, *found)
    elif report.failures is None and report.reason.startswith("failed-before"):
        # An agent of before says so in its reason alone.
        return DeviceOutcome(device, Outcome.FAILED, report.reason.partition(": ")[2])
    if late:
        return DeviceOutcome(device, Outcome.LATE, f"last report at {report.reported_at:%Y-%m-%d %H:%M} UTC")
    if report.pinned_release and report.pinned_release != digest:
        return DeviceOutcome(device, Outcome.HELD, f"the operator pinned {report.pinned_release[:12]}")
    return DeviceOutcome(device, Outcome.ON_THE_WAY, report.reason)


def _worse(progress: Progress) -> Judgement | None:
    """A stop, where the release is worse on the line than the former one."""
    worse = [item for item in progress.comparisons if item.line is Line.WORSE]
    if not worse:
        return None
    why = "worse on the line: " + "; ".join(f"{item.respect} {item.said}" for item in worse)
    devices = tuple(item.device for item in progress.devices if item.outcome is Outcome.SUCCEEDED)
    return Judgement(RolloutAct.STOP, why, progress, devices[:MOST_NAMED])


def _complete(plan: RolloutPlan, progress: Progress, now: datetime) -> Judgement:
    """Go on where the open stage has what it asks; else wait, or pause for a person."""
    if (missing := what_is_missing(plan, progress, now)) is not None:
        return Judgement(RolloutAct.WAIT, missing, progress)
    if not plan.go_on:
        unclear = [item for item in progress.comparisons if item.line is Line.UNCLEAR]
        if unclear:
            why = "inconclusive: " + "; ".join(f"{item.respect} {item.said}" for item in unclear)
            return Judgement(RolloutAct.PAUSE, why, progress, paused_for=PausedFor.INCONCLUSIVE)
        if (uncompared := _not_compared(plan, progress)) is not None:
            return uncompared
    return next_step(plan, progress, now, _uncompared(progress))


def _not_compared(plan: RolloutPlan, progress: Progress) -> Judgement | None:
    """Nothing is opened uncompared where the policy does not want that: wait for frames that come, else ask a person.

    The last stage opens nothing: all devices have the release, and a person could only take it back.
    """
    if plan.line.when_not_comparable is not NotComparable.PAUSE or plan.is_last:
        return None
    gone = [item for item in progress.comparisons if item.lacking is Lacking.FORMER]
    if gone:
        said = ", ".join(f"{item.respect} ({item.said})" for item in gone)
        why = f"not compared with the former release: {said}; to resume opens the next wave without that comparison"
        return Judgement(RolloutAct.PAUSE, why, progress, paused_for=PausedFor.INCONCLUSIVE)
    coming = [item for item in progress.comparisons if item.lacking is Lacking.RELEASE]
    if coming:
        said = ", ".join(f"{item.respect} ({item.said})" for item in coming)
        why = f"{stage_name(plan.stage)}: frames are missing to compare with the former release: {said}"
        return Judgement(RolloutAct.WAIT, why, progress)
    return None


def _uncompared(progress: Progress) -> str:
    """In which respects the former release says nothing: it, or this one, has judged too few frames there."""
    few = [f"{item.respect} ({item.said})" for item in progress.comparisons if item.line is Line.TOO_FEW]
    return f"; not compared with the former release: {', '.join(few)}" if few else ""
