"""Whether a release on probation is kept: a rule over what it and the release before it have decided. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge_agent.ota.refusal import VERDICT_SHARE
from inspection.documents import Probation
from inspection.intervals import share_interval

_FRAMES_OF_A_LATENCY: Final = 20
"""A percentile of fewer frames is that of chance."""
_SLOWER_MS: Final = 10.0
"""Differences below this are jitter, whatever the ratio."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What one release has decided: frames, how many of them fail and uncertain, and p95 of milliseconds a frame."""

    frames: int = 0
    fail: int = 0
    uncertain: int = 0
    p95_ms: float | None = None

    def plus(self, later: Tally) -> Tally:
        """Both together; the latency is that of `later`, where it has enough frames."""
        known = later if later.frames >= _FRAMES_OF_A_LATENCY or self.p95_ms is None else self
        return Tally(self.frames + later.frames, self.fail + later.fail, self.uncertain + later.uncertain, known.p95_ms)


NOTHING_SEEN: Final = Tally()


@dataclass(frozen=True, slots=True)
class Keep:
    """The release is kept. note: what the report must say about it; empty where there is nothing."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """The probation goes on. for_frames: only frames are missing, and its least time is over."""

    for_frames: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """The release is not kept; reason: a fixed word, a colon and a message."""

    reason: str


def judge(
    asked: Probation,
    *,
    probation_s: float,
    budget_ms: float,
    former: Tally | None,
    now: Tally,
    elapsed_s: float,
    waited_s: float,
    share_accepted: bool = False,
) -> Keep | Wait | Refuse:
    """Decide on a release that has run without a fault so far.

    Args:
        asked: what the release asks of its probation.
        probation_s: the least time.
        budget_ms: the longest time for one frame that the release allows.
        former: of the release that ran before; None for the first one.
        now: of the release on probation.
        elapsed_s: since the start of the probation, or of the agent.
        waited_s: since the start of the probation, over orderly stops.
        share_accepted: somebody ordered the release again after its verdicts were refused.
    """
    enough = now.frames >= asked.min_frames
    comparable = former is not None and enough and former.frames >= asked.min_frames > 0
    if asked.min_frames > 0 and enough:
        refusal = _slow(asked, budget_ms, former, now)
        if refusal is None and comparable and not share_accepted:
            assert former is not None
            refusal = _other_verdicts(asked, former, now)
        if refusal is not None:
            return Refuse(refusal)
    if elapsed_s < probation_s:
        return Wait()
    if enough:
        return Keep()
    if waited_s < asked.patience_s:
        return Wait(for_frames=True)
    return Keep(without_frames(asked, now))


def without_frames(asked: Probation, now: Tally) -> str:
    """The note on a release that is kept though too few frames came."""
    return f"kept-without-frames: {now.frames} of {asked.min_frames} frames came; its verdicts were not compared"


def _slow(asked: Probation, budget_ms: float, former: Tally | None, now: Tally) -> str | None:
    if now.p95_ms is None or now.frames < _FRAMES_OF_A_LATENCY:
        return None
    before = former.p95_ms if former is not None and former.frames >= _FRAMES_OF_A_LATENCY else None
    # Where the former release is over the budget too, the machine is slow and not the release.
    if now.p95_ms > budget_ms and not (before is not None and before > budget_ms):
        return f"too-slow: p95 is {now.p95_ms:.1f} ms a frame on the line, over the budget of {budget_ms:.1f} ms"
    if before is not None and now.p95_ms > max(before * asked.max_latency_ratio, before + _SLOWER_MS):
        return f"slower-than-before: p95 is {now.p95_ms:.1f} ms a frame, {before:.1f} ms before"
    return None


def _other_verdicts(asked: Probation, former: Tally, now: Tally) -> str | None:
    kinds: tuple[tuple[str, Callable[[Tally], int]], ...] = (
        ("fail", lambda tally: tally.fail),
        ("uncertain", lambda tally: tally.uncertain),
    )
    for word, count in kinds:
        before, after = count(former) / former.frames, count(now) / now.frames
        if abs(after - before) > asked.max_share_change and _apart(
            share_interval(count(former), former.frames), share_interval(count(now), now.frames)
        ):
            return (
                f"{VERDICT_SHARE}: {word} {before:.0%} before (n={former.frames}), {after:.0%} now (n={now.frames}); "
                "look at the parts, and order it again where this is right"
            )
    return None


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[1] < other[0] or other[1] < one[0]
