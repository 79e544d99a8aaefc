"""The results as Markdown, and the goals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from statistics import mean, stdev
from typing import Final

from benchmarks.anomaly.trials import Trial
from benchmarks.edge.table import machine

BEGIN: Final = "<!-- bench-anomaly: written by make bench-anomaly; edit nothing below -->"
END: Final = "<!-- bench-anomaly: end -->"
_GOALS: Final = (
    ("image AUROC from 10 good parts", "10 good parts", "auroc", 0.90),
    ("image AUROC from 30 good parts", "30 good parts", "auroc", 0.95),
    ("seconds to learn 30 good parts", "30 good parts", "fit_s", 60.0),
    ("processor milliseconds a frame on one thread, 320×224", "30 good parts", "frame_ms", 15.0),
)


def render(command: str, trials: Sequence[Trial]) -> str:
    """The tables as Markdown."""
    by_material: dict[str, list[Trial]] = {}
    for trial in trials:
        by_material.setdefault(trial.material, []).append(trial)
    lines = [
        f"`{command}` on {date.today().isoformat()}; {machine()}.",
        "",
        "| Learned from | image AUROC, by seed | mean | spread | good parts above the default threshold "
        "| defects above it | learning | a frame |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in by_material.items():
        values = [trial.auroc for trial in found]
        spread = stdev(values) if len(values) > 1 else 0.0
        lines.append(
            f"| {name} | {', '.join(f'{value:.3f}' for value in values)} | **{mean(values):.3f}** | {spread:.3f} "
            f"| {mean(trial.false_alarms for trial in found):.1%} | {mean(trial.caught for trial in found):.1%} "
            f"| {mean(trial.fit_s for trial in found):.0f} s | {mean(trial.frame_ms for trial in found):.1f} ms |"
        )
    lines += ["", "| image AUROC by kind of defect | mean | spread |", "|---|---:|---:|"]
    for name, found in by_material.items():
        for kind in found[0].aurocs:
            values = [trial.aurocs[kind] for trial in found]
            spread = stdev(values) if len(values) > 1 else 0.0
            lines.append(f"| {name}: {kind} | {mean(values):.3f} | {spread:.3f} |")
    lines += ["", "| Goal | Value | |", "|---|---:|---|"]
    for said, material, field, goal in _GOALS:
        values = [getattr(trial, field) for name, found in by_material.items() if material in name for trial in found]
        if values:
            value = mean(values)
            met = value >= goal if field == "auroc" else value <= goal
            asked = f">= {goal:.2f}" if field == "auroc" else f"<= {goal:.0f}"
            lines.append(f"| {said} {asked} | {value:.3f} | {'met' if met else '**missed**'} |")
    return "\n".join(lines)
