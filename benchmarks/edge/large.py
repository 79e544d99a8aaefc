"""A picture of twelve megapixels: whole, decoded small, and in tiles, beside Ultralytics and SAHI."""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from benchmarks.document import write_between
from benchmarks.edge.contenders import Spec
from benchmarks.edge.interleave import Timings, Worker, run_interleaved
from benchmarks.edge.material import Material
from benchmarks.edge.models import Models
from benchmarks.edge.neighbours import Neighbours
from benchmarks.edge.release import BuiltRelease
from benchmarks.edge.table import machine
from components.stores.datasets.manifest import SplitName
from edge_agent.inference import RELEASE_FILE
from inspection import Tiles, decode_image
from inspection.tiles import tiles_of

_log = logging.getLogger(__name__)

BEGIN: Final = "<!-- bench-large: written by make bench-edge; edit nothing below -->"
END: Final = "<!-- bench-large: end -->"
SIZE: Final = (4000, 3000)
SCALE: Final = 0.5
OVERLAP_PX: Final = 32
SHRINK: Final = 8
TODAY, SAMPLE, BEST, SAHI, TILED, SHRUNK = "whole", "a", "b", "c", "d", "e"
TITLES: Final = {
    SAMPLE: "Ultralytics as the sample has it: dynamic export, no `imgsz`",
    BEST: "Ultralytics at its best: static rectangular export, `imgsz`",
    SAHI: "SAHI's slicer with Ultralytics at its best, at the tiles of (d)",
    TILED: "the agent, fp32, in tiles",
    SHRUNK: f"the agent, fp32, decoded at 1/{SHRINK}, no tiles",
    TODAY: "the agent, fp32, decoded in full, no tiles",
}
_PICTURES: Final = 4


@dataclass(frozen=True, slots=True)
class LargeRun:
    """The timings of each contender with one number of threads. neighbours: see `goals.Run`."""

    threads: int
    rounds: int
    timings: Mapping[str, Timings]
    neighbours: float


def measure_large(
    material: Material, models: Models, built: BuiltRelease, work: Path, rounds: int, sahi: Path | None, python: str
) -> LargeRun:
    """Let each contender judge pictures of twelve megapixels in turn, with two threads.

    Args:
        sahi: a folder that holds the package `sahi`, with those that it needs beside this environment's; None leaves
            it out.
        python: the interpreter of the device's environment.
    """
    frames = write_frames(material, work / "large-frames")
    size = (material.preprocess.height, material.preprocess.width)
    release = built.release
    readings = {
        TODAY: release.preprocess,
        SHRUNK: replace(release.preprocess, shrink=SHRINK),
        TILED: replace(release.preprocess, shrink=2, tiles=Tiles(scale=SCALE, overlap_px=OVERLAP_PX)),
    }
    specs = {
        SAMPLE: Spec("ultralytics", 2, str(models.dynamic)),
        BEST: Spec("ultralytics", 2, str(models.static), size),
    }
    for name, reading in readings.items():
        # The golden samples are of another reading; the contender does not try the release.
        read = replace(release, preprocess=reading, golden=())
        folder = BuiltRelease(read, {**built.files, RELEASE_FILE: read.to_json()}).write(work / f"large-{name}")
        specs[name] = Spec("agent", 2, str(folder))
    if sahi is not None:
        slices = (round(size[0] / SCALE), round(size[1] / SCALE))
        specs[SAHI] = Spec("sahi", 2, str(models.static), size, slices=slices, overlap=OVERLAP_PX / min(size))
    neighbours = Neighbours()
    with ExitStack() as stack:
        workers = {}
        for name, spec in specs.items():
            paths = (str(sahi),) if name == SAHI else ()
            chosen = python if spec.kind == "agent" else sys.executable
            workers[name] = stack.enter_context(Worker(spec, frames, chosen, paths))
        timings = run_interleaved(workers, rounds, _PICTURES)
    return LargeRun(2, rounds, timings, neighbours.share())


def write_frames(material: Material, folder: Path) -> Path:
    """Photographs of parts that the training never saw, at twelve megapixels, with the noise of a sensor, as JPEG."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, (_, data) in zip(range(_PICTURES), material.of(SplitName.TEST, SplitName.VAL), strict=False):
        large = cv2.resize(decode_image(data), SIZE, interpolation=cv2.INTER_CUBIC).astype(np.int16)
        large += rng.integers(-5, 6, large.shape, dtype=np.int16)
        ok, jpeg = cv2.imencode(".jpg", np.clip(large, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert ok
        (folder / f"{number:04d}.jpg").write_bytes(jpeg.tobytes())
    return folder


def write(run: LargeRun, material: Material, document: Path) -> None:
    """Put the table between its marks of `document`."""
    write_between(document, BEGIN, END, render(run, material))


def render(run: LargeRun, material: Material) -> str:
    """The table as Markdown."""
    preprocess = replace(material.preprocess, tiles=Tiles(scale=SCALE, overlap_px=OVERLAP_PX))
    tiles = len(tiles_of(round(SIZE[0] * SCALE), round(SIZE[1] * SCALE), preprocess))
    whole = run.timings[TODAY].p50
    lines = [
        f"`make bench-edge` on {date.today().isoformat()}; {machine()}; {run.threads} threads, {run.rounds} rounds of "
        f"pictures of {SIZE[0]} × {SIZE[1]} (JPEG). Other programs took {run.neighbours:.0%} of the machine meanwhile.",
        f"Tiles: {tiles} of {preprocess.width} × {preprocess.height} at the scale {SCALE:g}, overlap {OVERLAP_PX}.",
        "",
        "| From JPEG bytes to verdict, 12 megapixels | p50 | p95 | fastest | page faults |",
        "|---|---:|---:|---:|---:|",
    ]
    for letter, title in TITLES.items():
        label = f"({letter}) {title}" if letter != TODAY else title
        if letter not in run.timings:
            lines.append(f"| {label} | not measured: the package `sahi` is not installed | | | |")
            continue
        found = run.timings[letter]
        faults = statistics.median(sample.faults for sample in found.samples)
        lines.append(f"| {label} | {found.p50:.1f} ms | {found.p95:.1f} ms | {found.fastest:.1f} ms | {faults:.0f} |")
    lines += ["", "| Goal | |", "|---|---:|"]
    if SAHI in run.timings:
        lines.append(_goal("(d) at least 3 × faster than (c)", run.timings[SAHI].p50 / run.timings[TILED].p50, 3.0))
    lines.append(_goal("(e) at least 2.5 × faster than decoded in full", whole / run.timings[SHRUNK].p50, 2.5))
    return "\n".join([*lines, ""])


def _goal(what: str, value: float, bound: float) -> str:
    return f"| {what} | {value:.2f} ×{'' if value >= bound else ' **missed**'} |"


def sahi_folder() -> Path | None:
    """The folder of the package `sahi` (`KIZU_SAHI`); None where it is not named."""
    named = os.environ.get("KIZU_SAHI")
    return Path(named) if named else None
