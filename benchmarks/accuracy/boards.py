"""The trainings on circuit boards (`--pcb`): the shipped use case, what was tried besides, and their table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from statistics import mean, stdev
from typing import Any, Final

from benchmarks.accuracy.contenders import SHIPPED, changed
from benchmarks.accuracy.table import Report
from benchmarks.accuracy.trials import Rates, Trial
from benchmarks.edge.table import machine
from components.stores.models.evaluation_report import Rate
from components.use_case import Tiles, TrainingSettings, UseCase

BEGIN: Final = "<!-- bench-accuracy-pcb: written by make bench-accuracy; edit nothing below -->"
END: Final = "<!-- bench-accuracy-pcb: end -->"
GOAL: Final = 0.95
"""The least mean mAP50 of the shipped use case."""

TRIED: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "small": ("whole pictures at 320×320", {"image_width": 320, "image_height": 320}),
    "full": ("whole pictures at 640×640", {"image_width": 640, "image_height": 640}),
    "tiles": ("tiles of 320×320 at the pictures' own size, of which neighbours share 64 pixels", {
        "image_width": 320, "image_height": 320,
    }),
}  # fmt: skip
"""Name -> a description, and the settings that differ from the shipped ones."""

TILES: Final[Mapping[str, Tiles]] = {"tiles": Tiles(overlap_px=64)}
"""How those that see tiles cut a picture; the others see whole pictures."""


def contenders(use_case: UseCase, tried: Iterable[str] = ()) -> dict[str, tuple[str, TrainingSettings | None]]:
    """Name -> a description, and the settings to train with.

    Raises:
        ValueError: a name in `tried` is not in `TRIED`.
    """
    names = list(tried)
    unknown = sorted(set(names) - TRIED.keys())
    if unknown:
        raise ValueError(f"expected of {', '.join(TRIED)}, but got {', '.join(unknown)}")
    shipped = use_case.training
    found: dict[str, tuple[str, TrainingSettings | None]] = {
        SHIPPED: (f"as `use_cases/{use_case.name}.yaml` has it", shipped)
    }
    return found | {name: (TRIED[name][0], changed(shipped, TRIED[name][1])) for name in names}


def render(report: Report) -> str:
    """The table as Markdown."""
    first = report.trials[SHIPPED]
    splits = "; ".join(
        f"seed {trial.split_seed}: {trial.images['train']} to learn from, {trial.images['val']} for the threshold, "
        f"{trial.images['test']} to be judged on"
        for trial in first
    )
    lines = [
        f"`{report.command}` on {date.today().isoformat()}; {machine()}.",
        f"{report.material}; {splits}.",
        "",
        "| | "
        + " | ".join(f"mAP50, seed {trial.split_seed}" for trial in first)
        + " | mean | spread | mAP at IoU 0.33 | escape | overkill | review | training |",
        "|---|" + "---:|" * (len(first) + 7),
    ]
    for name, trials in report.trials.items():
        scores = [trial.map50 for trial in trials]
        spread = stdev(scores) if len(scores) > 1 else 0.0
        rates = [trial.rates for trial in trials if trial.rates is not None]
        each = " | ".join(f"{score:.3f}" for score in scores)
        lines.append(
            f"| {report.said[name]} | {each} | **{mean(scores):.3f}** | {spread:.3f} | "
            f"{mean(found.map33 for found in rates):.3f} | {' | '.join(_said(pool) for pool in _pooled(rates))} | "
            f"{mean(trial.seconds for trial in trials) / 60:.0f} min |"
        )
    lines += ["", "| Goal | Value | |", "|---|---:|---|", _goal(first)]
    return "\n".join(lines)


def _goal(trials: Sequence[Trial]) -> str:
    value = mean(trial.map50 for trial in trials)
    verdict = "met" if value >= GOAL else "**missed**"
    return f"| mAP50: at least {GOAL:.2f} on pieces kept apart | {value:.3f} | {verdict} |"


def _pooled(rates: Sequence[Rates]) -> list[Rate]:
    """Escape, overkill and review over all splits."""
    columns = ([r.escape for r in rates], [r.overkill for r in rates], [r.review for r in rates])
    return [Rate(count=sum(c for c, _ in column), n=sum(n for _, n in column)) for column in columns]


def _said(rate: Rate) -> str:
    low, high = rate.interval
    return f"{rate.count}/{rate.n} ({low:.3f}-{high:.3f})"
