"""How a release compares with the former one on the line: a rule over what devices have counted. It uses values only.

A device counts the latest frames of each release that it has run. Only devices that have counted both releases compare.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from inspection.documents import Reported
from inspection.intervals import difference_interval, share_interval
from inspection.report_parts import LineTally
from inspection.rollout import LineBounds, RolloutPlan

_FRAMES_OF_A_LATENCY: Final = 20
"""A percentile of fewer frames is that of chance."""
_SLOWER_MS: Final = 10.0
"""Differences below this are jitter, whatever the ratio."""
_NO_LIMIT: Final = 1000.0
_WINDOW: Final = 2000
"""So many frames of a release a device counts at most; see `LineTally`."""
_Pair = tuple[LineTally, LineTally]


class Line(StrEnum):
    """How a release compares with the former one on the line, in one respect."""

    FINE = "fine"
    WORSE = "worse"
    UNCLEAR = "unclear"
    TOO_FEW = "too-few-frames"


class Lacking(StrEnum):
    """Whose frames a comparison lacks."""

    RELEASE = "release"
    """Those of the release that is rolled out: they come with time."""
    FORMER = "former"
    """Those of the former release, which no device of the open stages inspects with any more: waiting brings none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One respect. said: the figures, as the end of a sentence. lacking: whose frames are too few; None for neither."""

    respect: str
    line: Line
    said: str
    lacking: Lacking | None = None


def tally_of(report: Reported, digest: str | None) -> LineTally | None:
    """What a device has counted of a release lately."""
    return next((tally for tally in reversed(report.tallies or ()) if tally.release_digest == digest), None)


def compare(plan: RolloutPlan, own: Sequence[Reported], counting: Collection[str]) -> tuple[Comparison, ...]:
    """Compare the release with the former one on the devices of the open stages.

    Args:
        own: the reports of these devices.
        counting: the devices that have the release, or are about to: frames of both may come from them.
    """
    if plan.former_digest is None:
        return ()
    found = _Frames.of(plan, own, counting)
    bounds, both = plan.line, found.both
    frames, former_frames = found.frames, found.former_frames
    comparisons = []
    shares: tuple[tuple[str, float, Callable[[LineTally], int], bool], ...] = (
        ("fail", bounds.fail_change, lambda tally: tally.fail, False),
        ("uncertain", bounds.review_change, lambda tally: tally.uncertain, True),
    )
    for respect, bound, count, rises_only in shares:
        if bound >= 1.0:
            continue
        if min(frames, former_frames) < bounds.min_frames:
            comparisons.append(found.too_few(respect, bounds.min_frames))
            continue
        counts = sum(count(now) for now, _ in both), sum(count(before) for _, before in both)
        low, high = difference_interval(counts[0], frames, counts[1], former_frames)
        said = (
            f"{counts[1] / former_frames:.1%} before (n={former_frames}), {counts[0] / frames:.1%} now (n={frames}), "
            f"95 % of the change {low:+.1%} to {high:+.1%}, bound {bound:.1%}"
        )
        comparisons.append(Comparison(respect, _against(low, high, bound, rises_only), said))
    if bounds.fail_fall < 1.0 and min(frames, former_frames) >= bounds.min_frames:
        comparisons.append(_fall(bounds.fail_fall, both, frames, former_frames))
    return (*comparisons, *_disagreement(bounds, found), *_latency(bounds, found))


@dataclass(frozen=True, slots=True)
class _Frames:
    """What the devices have counted. both: of each device that has counted both releases, the release first.

    expected: of each device from which frames of both may come, the release, which is None before its first frame.
    """

    both: tuple[_Pair, ...]
    expected: tuple[tuple[LineTally | None, LineTally], ...]

    @classmethod
    def of(cls, plan: RolloutPlan, own: Sequence[Reported], counting: Collection[str]) -> _Frames:
        pairs = [
            (report.device, tally_of(report, plan.release_digest), before)
            for report in own
            if (before := tally_of(report, plan.former_digest)) is not None
        ]
        return cls(
            tuple((now, before) for _, now, before in pairs if now is not None),
            tuple((now, before) for device, now, before in pairs if device in counting),
        )

    @property
    def frames(self) -> int:
        """Of the release."""
        return sum(now.frames for now, _ in self.both)

    @property
    def former_frames(self) -> int:
        """Of the former release."""
        return sum(before.frames for _, before in self.both)

    def too_few(self, respect: str, wanted: int) -> Comparison:
        """A comparison for which one of the releases has judged too few frames."""
        of_former = sum(before.frames for _, before in self.expected)
        if of_former < wanted:
            said = f"{of_former} of {wanted} frames of the former release"
            return Comparison(respect, Line.TOO_FEW, said, Lacking.FORMER)
        said = f"{min(self.frames, self.former_frames)} of {wanted} frames of the release"
        return Comparison(respect, Line.TOO_FEW, said, Lacking.RELEASE)


def _fall(bound: float, both: Sequence[_Pair], frames: int, former_frames: int) -> Comparison:
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


def _disagreement(bounds: LineBounds, found: _Frames) -> tuple[Comparison, ...]:
    """The share of frames on which both decide otherwise, of those that both have judged."""
    if bounds.disagreement >= 1.0:
        return ()
    tallies = [now for now, _ in found.both]
    compared, disagreed = sum(t.compared for t in tallies), sum(t.disagreed for t in tallies)
    if compared < bounds.min_frames:
        if found.frames < bounds.min_frames:
            return (found.too_few("disagreement", bounds.min_frames),)
        said = f"{compared} of {bounds.min_frames} frames were judged by both"
        # Where the share of such frames is small, the devices forget the first before there are enough.
        reachable = compared / found.frames * _WINDOW * len(tallies)
        lacking = Lacking.RELEASE if reachable >= bounds.min_frames else Lacking.FORMER
        return (Comparison("disagreement", Line.TOO_FEW, said, lacking),)
    low, high = share_interval(disagreed, compared)
    bound = bounds.disagreement
    said = f"{disagreed / compared:.1%} of {compared} frames, 95 % {low:.1%} to {high:.1%}, bound {bound:.1%}"
    return (Comparison("disagreement", _against(low, high, bound, rises_only=True), said),)


def _latency(bounds: LineBounds, found: _Frames) -> tuple[Comparison, ...]:
    """The middle of the devices' ratios: one device that is busy says nothing about the release."""
    if bounds.latency_ratio >= _NO_LIMIT:
        return ()
    ratios = [
        1.0 if now.p95_ms <= before.p95_ms + _SLOWER_MS else now.p95_ms / before.p95_ms
        for now, before in found.both
        if now.p95_ms is not None and before.p95_ms and min(now.frames, before.frames) >= _FRAMES_OF_A_LATENCY
    ]
    if not ratios:
        comes = any(
            before.p95_ms
            and before.frames >= _FRAMES_OF_A_LATENCY
            and (now is None or now.frames < _FRAMES_OF_A_LATENCY)
            for now, before in found.expected
        )
        said = "no device has timed enough frames of both"
        return (Comparison("latency", Line.TOO_FEW, said, Lacking.RELEASE if comes else Lacking.FORMER),)
    ratio = statistics.median(ratios)
    said = f"{ratio:.2f} times as long as before on {len(ratios)} device(s), bound {bounds.latency_ratio:g}"
    return (Comparison("latency", Line.WORSE if ratio > bounds.latency_ratio else Line.FINE, said),)
