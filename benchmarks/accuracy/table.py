"""The results as Markdown, and the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import mean, stdev
from typing import Final

from benchmarks.accuracy.contenders import PLAIN, SHIPPED
from benchmarks.accuracy.trials import Trial
from benchmarks.edge.table import machine

BEGIN: Final = "<!-- bench-accuracy: written by make bench-accuracy; edit nothing below -->"
END: Final = "<!-- bench-accuracy: end -->"
GOALS: Final = {"mAP50": 0.15, "mAP50-95": 0.10}


@dataclass(frozen=True, slots=True)
class Report:
    """All results. trials: contender -> its trials, one per split; said: contender -> its description."""

    command: str
    material: str
    said: Mapping[str, str]
    trials: Mapping[str, Sequence[Trial]]


def render(report: Report) -> str:
    """The tables as Markdown."""
    first = report.trials[PLAIN]
    splits = "; ".join(
        f"seed {trial.split_seed}: {trial.parts['train']} parts ({trial.images['train']} photographs) to learn from, "
        f"{trial.parts['test']} ({trial.images['test']}) to be judged on"
        for trial in first
    )
    lines = [
        f"`{report.command}` on {date.today().isoformat()}; {machine()}.",
        f"{report.material}, whole parts kept apart; {splits}.",
        "",
        "| mAP50 / mAP50-95 on parts never seen | "
        + " | ".join(f"seed {trial.split_seed}" for trial in first)
        + " | mean | spread | training |",
        "|---|" + "---:|" * (len(first) + 3),
    ]
    for name, trials in report.trials.items():
        means = tuple(mean(values) for values in _scores(trials))
        spreads = tuple(stdev(values) if len(values) > 1 else 0.0 for values in _scores(trials))
        each = " | ".join(f"{trial.map50:.3f} / {trial.map50_95:.3f}" for trial in trials)
        minutes = mean(trial.seconds for trial in trials) / 60
        lines.append(
            f"| {report.said[name]} | {each} | **{means[0]:.3f} / {means[1]:.3f}** | "
            f"{spreads[0]:.3f} / {spreads[1]:.3f} | {minutes:.0f} min |"
        )
    lines += ["", "| Goal | Value | |", "|---|---:|---|"]
    for (name, goal), ours, plain in zip(
        GOALS.items(), _scores(report.trials[SHIPPED]), _scores(report.trials[PLAIN]), strict=True
    ):
        gain = mean(ours) - mean(plain)
        verdict = "met" if gain >= goal else "**missed**"
        lines.append(f"| {name}: at least {goal:.2f} above plain training | {gain:+.3f} | {verdict} |")
    return "\n".join(lines)


def _scores(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [trial.map50 for trial in trials], [trial.map50_95 for trial in trials]
