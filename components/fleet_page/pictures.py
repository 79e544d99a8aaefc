"""The geometry of charts, as values: the templates draw them as SVG without any style or script inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from components.fleet_page.history import Counts
from components.fleet_page.watcher import Progress
from inspection.documents import DesiredState
from inspection.rollout import RolloutState

CHART: Final = (720.0, 120.0)
BAR: Final = 400.0
_KINDS: Final = ("passed", "uncertain", "failed", "not_inspected")


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle, in units of the picture. kind: a class of the style sheet. title: what a pointer shows."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time. most: the number that the full height stands for."""

    bars: tuple[Rect, ...]
    most: int


def verdict_chart(counts: Sequence[Counts]) -> Chart:
    """One bar for each part of the time, divided by verdict. The highest bar fills the height."""
    most = max((part.all for part in counts), default=0)
    width, height = CHART
    each = width / max(1, len(counts))
    bars = []
    for number, part in enumerate(counts):
        top = height
        for kind in _KINDS:
            value = getattr(part, kind)
            if value:
                tall = height * value / most
                top -= tall
                bars.append(
                    _rounded(number * each, top, each * 0.85, tall, kind, f"{part.at:%Y-%m-%d %H:%M} UTC: {value}")
                )
    return Chart(tuple(bars), most)


@dataclass(frozen=True, slots=True)
class StagePicture:
    """One stage or wave. share: of the group, in per cent; None for named devices alone. state: done, open or waiting.

    bar: what became of the release on the devices of the open stages. marks: the thresholds, as places on the bar.
    """

    number: int
    share: float | None
    named: tuple[str, ...]
    state: str
    bar: tuple[Rect, ...] = ()
    success_mark: float | None = None
    failure_mark: float | None = None
    success_share: float | None = None
    failure_share: float | None = None
    min_executed: int = 0
    min_s: float = 0.0
    min_frames: int = 0
    by_hand: bool = False


def rollout_picture(desired: DesiredState, progress: Progress | None) -> tuple[StagePicture, ...]:
    """The stages of a rollout with their thresholds; the waves of the desired state where it has no plan."""
    plan = desired.rollout
    if plan is None:
        return tuple(
            StagePicture(number, wave.percent, wave.devices or (), "open")
            for number, wave in enumerate(desired.waves, 1)
        )
    found = []
    over = plan.state in (RolloutState.DONE, RolloutState.PINNED)
    for index, stage in enumerate(plan.stages):
        is_open = index == plan.open_stage and not over
        state = "done" if index < plan.open_stage or over else "open" if is_open else "waiting"
        found.append(
            StagePicture(
                number=index + 1,
                share=stage.percent or None,
                named=stage.devices,
                state="stopped" if is_open and plan.state is RolloutState.STOPPED else state,
                bar=_bar(progress) if is_open and progress else (),
                success_mark=round(BAR * stage.success_share, 1),
                failure_mark=round(BAR * (1 - stage.failure_share), 1),
                success_share=stage.success_share,
                failure_share=stage.failure_share,
                min_executed=stage.min_executed,
                min_s=stage.min_s,
                min_frames=stage.min_frames,
                by_hand=stage.by_hand,
            )
        )
    return tuple(found)


def _bar(progress: Progress) -> tuple[Rect, ...]:
    """Succeeded from the left, failed from the right, as shares of the devices that the thresholds are about."""
    if not progress.expected:
        return ()
    good, bad = BAR * progress.succeeded / progress.expected, BAR * progress.failed / progress.expected
    return tuple(
        rect
        for rect in (
            _rounded(0, 4, good, 16, "succeeded", str(progress.succeeded)),
            _rounded(BAR - bad, 4, bad, 16, "failed", str(progress.failed)),
        )
        if rect.width
    )


def _rounded(x: float, y: float, width: float, height: float, kind: str, title: str) -> Rect:
    return Rect(round(x, 1), round(y, 1), round(width, 1), round(height, 1), kind, title)
