"""Whether a rollout goes on: a rule over its plan and the devices' reports. It uses values only.

A stage is open. Its devices have succeeded, failed, or are on the way. The rule stops the rollout where too many have
failed, or where the release is worse on the line than the former one; it opens the next stage where the open one has
what it asks; it pauses where a person must decide; else it waits, and says for what.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from inspection.documents import DesiredState, Reported, Wave
from inspection.intervals import difference_interval, share_interval
from inspection.report_parts import LineTally
from inspection.rollout import LineBounds, PausedFor, RolloutPlan, RolloutState, Stage
from reconciler.rules import UnreadReport

MOST_NAMED: Final = 20
"""Devices that a stop names at most."""
_TRIES: Final = 3
"""From so many tries on, a cause that may pass counts as a failure."""
_FRAMES_OF_A_LATENCY: Final = 20
"""A percentile of fewer frames is that of chance."""
_SLOWER_MS: Final = 10.0
"""Differences below this are jitter, whatever the ratio."""
_NO_LIMIT: Final = 1000.0


class Outcome(StrEnum):
    """What became of a release on one device of an open stage."""

    SUCCEEDED = "succeeded"
    """The device has kept it."""
    FAILED = "failed"
    """The device refused it, or went back from it."""
    ON_THE_WAY = "on-the-way"
    """The device has not come to an end with it."""
    HELD = "held"
    """The operator pinned another release."""
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


class Line(StrEnum):
    """How a release compares with the former one on the line, in one respect."""

    FINE = "fine"
    WORSE = "worse"
    UNCLEAR = "unclear"
    TOO_FEW = "too-few-frames"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One respect. said: the figures, as the end of a sentence."""

    respect: str
    line: Line
    said: str


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
    is_open = _is_open(plan)
    own = [report for report in of_group if is_open(report.device)]
    missing = [
        DeviceOutcome(item.device, Outcome.UNREAD, item.reason)
        for item in unread
        if item.may_count_for(desired.use_case, group) and is_open(item.device)
    ]
    progress = _progress(plan, desired, own, missing, now)
    if plan.state is not RolloutState.RUNNING:
        return Judgement(RolloutAct.NOTHING, _standing_still(plan), progress)
    if not of_group and not missing:
        # An empty bucket looks the same: it must not open one stage after the other.
        return Judgement(RolloutAct.WAIT, f"no device of group {group} has reported yet", progress)
    return _failed(plan.stage, progress) or _worse(progress) or _complete(plan, progress, now)


def _is_open(plan: RolloutPlan) -> Callable[[str], bool]:
    """Whether a device has the release by now: by name or by hash."""
    named, share = frozenset(plan.named()), Wave(release_digest=plan.release_digest, percent=plan.percent())
    return lambda device: device in named or share.includes(device)


def _standing_still(plan: RolloutPlan) -> str:
    said = f": {plan.reason}" if plan.reason else ""
    by = f" by {plan.by}" if plan.by else ""
    if plan.state is RolloutState.PAUSED:
        return f"paused{by}{said}; run: kizu deploy resume, or: kizu deploy revert"
    if plan.state is RolloutState.PINNED:
        return f"pinned{by}{said}; run: kizu deploy resume to end it"
    return f"{plan.state}{by}{said}"


def _progress(
    plan: RolloutPlan, desired: DesiredState, own: Sequence[Reported], missing: list[DeviceOutcome], now: datetime
) -> Progress:
    devices = [_outcome(plan, desired, report, desired.is_late(report.reported_at, now)) for report in own]
    tallies = [tally for report in own if (tally := _tally(report, plan.release_digest)) is not None]
    return Progress(
        tuple(sorted([*devices, *missing], key=lambda item: item.device)),
        sum(tally.frames for tally in tallies),
        _compare(plan, own),
    )


def _outcome(plan: RolloutPlan, desired: DesiredState, report: Reported, late: bool) -> DeviceOutcome:
    digest, device = plan.release_digest, report.device
    if report.running_release == digest and report.pending_release is None:
        return DeviceOutcome(device, Outcome.SUCCEEDED)
    failure = (report.failures or {}).get(digest)
    if failure is not None and failure.sequence >= desired.asked_since:
        if not failure.transient or failure.attempts >= _TRIES:
            return DeviceOutcome(device, Outcome.FAILED, failure.reason)
        if not late:
            return DeviceOutcome(device, Outcome.ON_THE_WAY, f"it tries again after: {failure.reason}")
    elif report.failures is None and report.reason.startswith("failed-before"):
        # An agent of before says so in its reason alone.
        return DeviceOutcome(device, Outcome.FAILED, report.reason.partition(": ")[2])
    if late:
        return DeviceOutcome(device, Outcome.LATE, f"last report at {report.reported_at:%Y-%m-%d %H:%M} UTC")
    if report.pinned_release and report.pinned_release != digest:
        return DeviceOutcome(device, Outcome.HELD, f"the operator pinned {report.pinned_release[:12]}")
    return DeviceOutcome(device, Outcome.ON_THE_WAY, report.reason)


def _tally(report: Reported, digest: str | None) -> LineTally | None:
    return next((tally for tally in reversed(report.tallies or ()) if tally.release_digest == digest), None)


def _compare(plan: RolloutPlan, own: Sequence[Reported]) -> tuple[Comparison, ...]:
    """Compare the release with the former one on the devices that have counted frames of both."""
    both = [
        (now, before)
        for report in own
        if (now := _tally(report, plan.release_digest)) is not None
        and (before := _tally(report, plan.former_digest)) is not None
    ]
    if plan.former_digest is None:
        return ()
    bounds = plan.line
    frames, former_frames = sum(now.frames for now, _ in both), sum(before.frames for _, before in both)
    found = []
    shares: tuple[tuple[str, float, Callable[[LineTally], int], bool], ...] = (
        ("fail", bounds.fail_change, lambda tally: tally.fail, False),
        ("uncertain", bounds.review_change, lambda tally: tally.uncertain, True),
    )
    for respect, bound, count, rises_only in shares:
        if bound >= 1.0:
            continue
        if min(frames, former_frames) < bounds.min_frames:
            said = f"{min(frames, former_frames)} of {bounds.min_frames} frames"
            found.append(Comparison(respect, Line.TOO_FEW, said))
            continue
        counts = sum(count(now) for now, _ in both), sum(count(before) for _, before in both)
        low, high = difference_interval(counts[0], frames, counts[1], former_frames)
        said = (
            f"{counts[1] / former_frames:.1%} before (n={former_frames}), {counts[0] / frames:.1%} now (n={frames}), "
            f"95 % of the change {low:+.1%} to {high:+.1%}, bound {bound:.1%}"
        )
        found.append(Comparison(respect, _against(low, high, bound, rises_only), said))
    if bounds.fail_fall < 1.0 and min(frames, former_frames) >= bounds.min_frames:
        found.append(_fall(bounds.fail_fall, both, frames, former_frames))
    return (*found, *_disagreement(bounds, [now for now, _ in both]), *_latency(bounds, both))


def _fall(bound: float, both: Sequence[tuple[LineTally, LineTally]], frames: int, former_frames: int) -> Comparison:
    """Whether so few frames fail now that the release may be blind. Where *fail* is rare, that takes many frames."""
    now, before = sum(tally.fail for tally, _ in both), sum(tally.fail for _, tally in both)
    low, high = difference_interval(now, frames, before, former_frames, weight=1.0 - bound)
    said = (
        f"{before / former_frames:.2%} before (n={former_frames}), {now / frames:.2%} now (n={frames}), may fall by "
        f"{bound:.0%} of itself"
    )
    line = Line.WORSE if high < 0.0 else Line.FINE if low >= 0.0 else Line.TOO_FEW
    return Comparison("fall of fail", line, said)


def _against(low: float, high: float, bound: float, rises_only: bool) -> Line:
    """An interval of a change against a bound."""
    if low > bound or (not rises_only and high < -bound):
        return Line.WORSE
    return Line.FINE if high <= bound and (rises_only or low >= -bound) else Line.UNCLEAR


def _disagreement(bounds: LineBounds, tallies: Sequence[LineTally]) -> tuple[Comparison, ...]:
    if bounds.disagreement >= 1.0:
        return ()
    compared, disagreed = sum(t.compared for t in tallies), sum(t.disagreed for t in tallies)
    if compared < bounds.min_frames:
        said = f"{compared} of {bounds.min_frames} frames were judged by both"
        return (Comparison("disagreement", Line.TOO_FEW, said),)
    low, high = share_interval(disagreed, compared)
    bound = bounds.disagreement
    said = f"{disagreed / compared:.1%} of {compared} frames, 95 % {low:.1%} to {high:.1%}, bound {bound:.1%}"
    return (Comparison("disagreement", _against(low, high, bound, rises_only=True), said),)


def _latency(bounds: LineBounds, both: Sequence[tuple[LineTally, LineTally]]) -> tuple[Comparison, ...]:
    """The middle of the devices' ratios: one device that is busy says nothing about the release."""
    if bounds.latency_ratio >= _NO_LIMIT:
        return ()
    ratios = [
        1.0 if now.p95_ms <= before.p95_ms + _SLOWER_MS else now.p95_ms / before.p95_ms
        for now, before in both
        if now.p95_ms is not None and before.p95_ms and min(now.frames, before.frames) >= _FRAMES_OF_A_LATENCY
    ]
    if not ratios:
        return (Comparison("latency", Line.TOO_FEW, "no device has timed enough frames of both"),)
    ratio = statistics.median(ratios)
    said = f"{ratio:.2f} times as long as before on {len(ratios)} device(s), bound {bounds.latency_ratio:g}"
    return (Comparison("latency", Line.WORSE if ratio > bounds.latency_ratio else Line.FINE, said),)


def _failed(stage: Stage, progress: Progress) -> Judgement | None:
    """A stop, where so many devices have failed that the stage cannot end well."""
    failed = [item for item in progress.devices if item.outcome is Outcome.FAILED]
    of = max(progress.expected, 1)
    if not failed or len(failed) <= stage.failure_share * of:
        return None
    reasons = "; ".join(f"{item.device}: {item.reason}" for item in failed[:3])
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    why = f"{len(failed)} of {of} device(s) failed, more than {stage.failure_share:.0%}: {reasons}{more}"
    return Judgement(RolloutAct.STOP, why, progress, tuple(item.device for item in failed[:MOST_NAMED]))


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
    if (missing := _missing(plan, progress, now)) is not None:
        return Judgement(RolloutAct.WAIT, missing, progress)
    if not plan.go_on:
        unclear = [item for item in progress.comparisons if item.line is Line.UNCLEAR]
        if unclear:
            why = "inconclusive: " + "; ".join(f"{item.respect} {item.said}" for item in unclear)
            return Judgement(RolloutAct.PAUSE, why, progress, paused_for=PausedFor.INCONCLUSIVE)
        if plan.stage.by_hand and not plan.is_last:
            why = f"{_name(plan, plan.open_stage)} is complete, and a person opens the next"
            return Judgement(RolloutAct.PAUSE, why, progress, paused_for=PausedFor.BY_HAND)
    if plan.is_last:
        why = f"{_name(plan, plan.open_stage)}, the last, is complete{_uncompared(progress)}"
        return Judgement(RolloutAct.FINISH, why, progress)
    if not plan.may_open(now):
        why = f"{_name(plan, plan.open_stage)} is complete; the next is opened in a maintenance window"
        return Judgement(RolloutAct.WAIT, why, progress)
    why = f"{_name(plan, plan.open_stage)} is complete: {_said(progress)}{_uncompared(progress)}"
    return Judgement(RolloutAct.ADVANCE, why, progress)


def _uncompared(progress: Progress) -> str:
    """In which respects the former release says nothing: it, or this one, has judged too few frames there."""
    few = [f"{item.respect} ({item.said})" for item in progress.comparisons if item.line is Line.TOO_FEW]
    return f"; not compared with the former release: {', '.join(few)}" if few else ""


def _missing(plan: RolloutPlan, progress: Progress, now: datetime) -> str | None:
    """What the open stage lacks; None where it has all that it asks."""
    stage, name = plan.stage, _name(plan, plan.open_stage)
    open_s = (now - plan.opened_at).total_seconds()
    if open_s < stage.min_s:
        return f"{name} is open for {open_s:.0f} of {stage.min_s:.0f} s"
    if not progress.devices:
        # Nobody can fail in an empty stage; but one that names its devices, or the last one, waits for them.
        named = bool(stage.devices) or plan.is_last
        return f"{name}: no device of it has reported yet" if named else None
    wanted = min(stage.min_executed, len(progress.devices))
    if progress.executed < wanted:
        return f"{name}: {progress.executed} of {wanted} device(s) have come to an end; {_said(progress)}"
    succeeded = progress.count(Outcome.SUCCEEDED)
    if succeeded < stage.success_share * progress.expected:
        share = f"{stage.success_share:.0%}"
        return f"{name}: {succeeded} of {progress.expected} succeeded, {share} are asked; {_said(progress)}"
    if progress.frames < stage.min_frames:
        return f"{name}: {progress.frames} of {stage.min_frames} frames came"
    return None


def _name(plan: RolloutPlan, index: int) -> str:
    return stage_name(plan.stages[index])


def stage_name(stage: Stage) -> str:
    """How a person calls a stage."""
    return "the canary" if not stage.percent else f"the wave of {stage.percent:g} %"


def _said(progress: Progress) -> str:
    """How the devices of the open stage stand, as one line."""
    words = [f"{count} {outcome}" for outcome in Outcome if (count := progress.count(outcome))]
    return ", ".join(words) or "no device"
