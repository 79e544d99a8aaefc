"""The results as Markdown, between two marks of a document."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.document import write_between
from benchmarks.edge.footprint import AgentProcess
from benchmarks.edge.goals import BEST, FP32, GOALS, INT8, OPENVINO, REFERENCE, Run
from benchmarks.edge.swap import FRAME_INTERVAL_S, SwapOutcome

BEGIN: Final = "<!-- bench-edge: written by make bench-edge; edit nothing below -->"
END: Final = "<!-- bench-edge: end -->"
MAX_MAP50_LOSS: Final = 0.01
TITLES: Final = {
    REFERENCE: "Ultralytics as the sample has it: dynamic export, no `imgsz`",
    BEST: "Ultralytics at its best: static rectangular export, `imgsz`",
    FP32: "the agent, fp32, onnxruntime",
    INT8: "the agent, int8, onnxruntime",
    OPENVINO: "the agent, int8, OpenVINO",
}
_FLAGS: Final = ("avx2", "avx512f", "avx512_vnni", "amx_int8")


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one run. Footprints, in bytes and seconds, and mAP50 have the contenders' letters as keys."""

    command: str
    material: str
    model: str
    rounds: int
    runs: Sequence[Run]
    start_s: Mapping[str, float]
    disk_bytes: Mapping[str, int]
    map50: Mapping[str, float]
    held_out: str
    agent: AgentProcess
    swap: SwapOutcome
    writes_per_s: float
    image_writes_per_s: float


def write(report: Report, document: Path) -> None:
    """Put the tables between the marks of `document`.

    Raises:
        ValueError: the marks are not there.
    """
    write_between(document, BEGIN, END, render(report))


def render(report: Report) -> str:
    """The tables as Markdown."""
    packages = ", ".join(
        f"{name} {version(package)}"
        for name, package in (
            ("onnxruntime", "onnxruntime"), ("OpenVINO", "openvino"), ("Ultralytics", "ultralytics-opencv-headless"),
        )
    )  # fmt: skip
    lines = [
        f"`{report.command}` on {date.today().isoformat()}; {machine()}; {packages}.",
        f"{report.material}; {report.model}; {report.rounds} rounds. Other programs took "
        + " and ".join(f"{run.neighbours:.0%}" for run in report.runs)
        + " of the machine meanwhile.",
        "",
        *_times(report),
        "",
        *_footprints(report),
        "",
        *_goals(report),
        "",
        *_rest(report),
        "",
    ]
    return "\n".join(lines)


def _times(report: Report) -> list[str]:
    counts = [f"{run.threads} thread{'s' if run.threads > 1 else ''}" for run in report.runs]
    lines = [
        "| From JPEG bytes to verdict | " + " | ".join(f"{n}: p50 | p95 | faster than (a)" for n in counts) + " |",
        "|---|" + "---:|---:|---:|" * len(counts),
    ]
    for letter, title in TITLES.items():
        cells = [
            f"{run.timings[letter].p50:.1f} ms | {run.timings[letter].p95:.1f} ms | {run.faster(letter):.2f} ×"
            for run in report.runs
        ]
        lines.append(f"| ({letter}) {title} | " + " | ".join(cells) + " |")
    return lines


def _footprints(report: Report) -> list[str]:
    timings = report.runs[-1].timings
    lines = [
        "| | Start to first verdict | Resident memory | Packages on disk |",
        "|---|---:|---:|---:|",
    ]
    for letter in TITLES:
        disk = _mb(report.disk_bytes[letter]) if letter in report.disk_bytes else ""
        lines.append(
            f"| ({letter}) | {report.start_s[letter]:.2f} s | {_mb(timings[letter].resident_bytes)} | {disk} |"
        )
    lines.append(
        f"| the whole agent with camera, outbox, updates and page, fp32 | {report.agent.start_s:.2f} s | "
        f"{_mb(report.agent.resident_bytes)} | {_mb(report.disk_bytes[FP32])} |"
    )
    return lines


def _goals(report: Report) -> list[str]:
    heads = " | ".join(f"{run.threads} thread{'s' if run.threads > 1 else ''}" for run in report.runs)
    lines = [f"| Goal | {heads} | Why it is missed |", "|---|" + "---:|" * len(report.runs) + "---|"]
    for goal in GOALS:
        missed = not all(goal.met(run) for run in report.runs)
        why = (goal.why_missed or "not looked into yet") if missed else ""
        lines.append(f"| {goal.what} | " + " | ".join(goal.said(run) for run in report.runs) + f" | {why} |")
    blank = " |" * (len(report.runs) - 1)
    for letter in (INT8, OPENVINO):
        loss = report.map50[FP32] - report.map50[letter]
        said = f"{loss:+.4f}{'' if loss <= MAX_MAP50_LOSS else ' **missed**'}"
        lines.append(f"| ({letter}) loses at most {MAX_MAP50_LOSS} mAP50 against (c) | {said} |{blank} |")
    lost = f"{report.swap.lost}{'' if report.swap.lost == 0 else ' **missed**'}"
    lines.append(f"| frames lost over a swap: 0 | {lost} |{blank} |")
    return lines


def _rest(report: Report) -> list[str]:
    swap = report.swap
    pause_ms = swap.longest_pause_s * 1000
    rates = " and ".join(f"{run.gflops_per_s:.0f} GFLOP/s with {run.threads}" for run in report.runs)
    arithmetic = report.runs[0].flops / 1e9
    scores = ", ".join(f"({letter}) {report.map50[letter]:.4f}" for letter in (FP32, INT8, OPENVINO))
    return [
        f"- Arithmetic: {arithmetic:.2f} GFLOP a frame; the matrix product ran at {rates} thread(s).",
        f"- mAP50 on {report.held_out}: {scores}.",
        f"- Swap: {swap.frames} frames, one each {FRAME_INTERVAL_S * 1000:.0f} ms, over {swap.swaps} swaps: "
        f"{swap.lost} lost, {swap.doubled} judged twice; longest pause between two verdicts {pause_ms:.0f} ms, "
        "with the trial of the next release beside the loop.",
        f"- Outbox: {report.writes_per_s:.0f} frames a second recorded durably with their result, "
        f"{report.image_writes_per_s:.0f} with the photograph too.",
    ]


def machine() -> str:
    """The processor, the number of usable cores, and the instruction sets that matter here."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in info.split("\n\n")[0].splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    known = named.get("flags", "").split()
    flags = ", ".join(flag for flag in _FLAGS if flag in known)
    return f"{named.get('model name', 'unknown processor')}, {len(os.sched_getaffinity(0))} cores ({flags})"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
