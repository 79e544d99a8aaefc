"""The results as Markdown, and the goals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import Final

from benchmarks.edge.table import machine
from benchmarks.training.downloads import FIRST, GETS, SAMPLE, SECOND, Fetched, Stored
from benchmarks.training.walls import OURS, PLAIN, SHIPPED, Trained

BEGIN: Final = "<!-- bench-training: written by make bench-training; edit nothing below -->"
END: Final = "<!-- bench-training: end -->"
MIN_TIMES: Final = 5.0
MAX_MORE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one run.

    neighbours: the shares of the machine, 0..1, that other programs took during the fetches and during the trainings.
    """

    command: str
    material: str
    stored: Stored
    fetched: Sequence[Fetched]
    trained: Trained
    neighbours: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, the measured value, and whether the goal was met."""

    what: str
    said: str
    met: bool

    @property
    def verdict(self) -> str:
        """The text of the table's last column: met or missed."""
        return "met" if self.met else "**missed**"


def goals(report: Report) -> list[Goal]:
    """The goals: one for each distance to the store, one for the second fetch, and one for the training."""
    found = [
        Goal(
            f"first fetch at least {MIN_TIMES:.0f} × faster than the sample's download, {_distance(fetched)}",
            f"{fetched.times(SAMPLE):.1f} ×",
            fetched.times(SAMPLE) >= MIN_TIMES,
        )
        for fetched in report.fetched
    ]
    second = [fetched.second for fetched in report.fetched if fetched.second is not None]
    requests = sum(traffic.requests for traffic in second)
    size = sum(traffic.sent_bytes + traffic.received_bytes for traffic in second)
    if second:
        found.append(
            Goal(
                "a second fetch transfers nothing",
                f"{requests:,} requests, {size:,} bytes",
                requests == size == 0,
            )
        )
    trained = report.trained
    found.append(
        Goal(
            f"training takes at most {MAX_MORE:.0%} more wall time than `yolo detect train` with the same arguments",
            f"{trained.more():+.1%}",
            trained.more() <= MAX_MORE,
        )
    )
    return found


def render(report: Report) -> str:
    """The tables as Markdown."""
    stored, trained = report.stored, report.trained
    settings = trained.settings
    rounds = len(report.fetched[0].seconds[FIRST])
    versions = ", ".join(f"{name} {version(package)}" for name, package in _PACKAGES.items())
    lines = [
        f"`{report.command}` on {date.today().isoformat()}; {machine()}; {versions}. Other programs took "
        f"{report.neighbours[0]:.0%} of the machine while images were fetched and {report.neighbours[1]:.0%} during "
        "the trainings.",
        "",
        f"{len(stored.uris):,} images, {stored.size_bytes / 1e6:.1f} MB; medians of {rounds} rounds.",
        "",
        "| From S3 onto the disk | the sample: `download_file`, one by one | `get_object`, one by one | ours, first "
        "fetch | faster than the sample | than `get_object` | ours, second fetch |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(_row(fetched) for fetched in report.fetched),
        "",
        *_traffic(report),
        "",
        f"YOLOv8{settings.model}, width {settings.width_multiple or 'as it comes'}, "
        f"{settings.image_width}×{settings.image_height}, {settings.epochs} epochs on {trained.images} of "
        f"{report.material}; medians of {len(trained.runs[PLAIN])} rounds, from the start of the process to the "
        "end of the last epoch.",
        "",
        "| Training | threads | wall time | least … most | beside plain | of it loading libraries |",
        "|---|---:|---:|---:|---:|---:|",
        *(_contender(trained, name, title) for name, title in _TITLES.items()),
        "",
        f"Our training then exports to ONNX and compares the export with the network, {trained.export_s:.1f} s that "
        "are not in the table; plain training leaves a checkpoint.",
        "",
        "| Goal | Value | |",
        "|---|---:|---|",
        *(f"| {goal.what} | {goal.said} | {goal.verdict} |" for goal in goals(report)),
        "",
    ]
    return "\n".join(lines)


_PACKAGES: Final = {"boto3": "boto3", "torch": "torch", "Ultralytics": "ultralytics-opencv-headless"}
_TITLES: Final = {
    PLAIN: "`yolo detect train`, with the threads that Ultralytics sets",
    OURS: "ours, with as many threads",
    SHIPPED: "ours as it is shipped, with all cores",
}


def _distance(fetched: Fetched) -> str:
    return "on loopback" if fetched.round_trip_ms is None else f"{fetched.round_trip_ms:g} ms away"


def _row(fetched: Fetched) -> str:
    where = "the store on this machine, loopback"
    if fetched.round_trip_ms is not None:
        where = f"behind a round trip of {fetched.round_trip_ms:g} ms"
    seconds = " | ".join(f"{fetched.median(way):.2f} s" for way in (SAMPLE, GETS, FIRST))
    times = " | ".join(f"{fetched.times(way):.1f} ×" for way in (SAMPLE, GETS))
    return f"| {where} | {seconds} | {times} | {fetched.median(SECOND):.2f} s |"


def _traffic(report: Report) -> list[str]:
    return [
        f"Behind {fetched.round_trip_ms:g} ms, the first fetches sent {fetched.first.requests:,} requests and "
        f"received {fetched.first.received_bytes / 1e6:.1f} MB, the second ones {fetched.second.requests:,} and "
        f"{fetched.second.received_bytes / 1e6:.1f} MB, counted by the proxy over all rounds."
        for fetched in report.fetched
        if fetched.first is not None and fetched.second is not None
    ]


def _contender(trained: Trained, name: str, title: str) -> str:
    seconds = trained.seconds(name)
    beside = "" if name == PLAIN else f"{trained.more(name):+.1%}"
    return (
        f"| {title} | {trained.runs[name][0].threads} | {statistics.median(seconds):.1f} s | "
        f"{min(seconds):.1f} … {max(seconds):.1f} s | {beside} | "
        f"{statistics.median(run.loaded_s for run in trained.runs[name]):.1f} s |"
    )
