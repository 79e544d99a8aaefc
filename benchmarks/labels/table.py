"""Renders the results as Markdown, and judges the goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import Final

from benchmarks.edge.table import machine
from benchmarks.labels.comparison import Compared
from benchmarks.labels.readings import CommandReading, EventReading
from benchmarks.labels.scans import Scan, Size

BEGIN: Final = "<!-- bench-labels: written by make bench-labels; edit nothing below -->"
END: Final = "<!-- bench-labels: end -->"
MAX_FULL_S: Final = 60.0
MAX_RESIDENT_BYTES: Final = 1_500_000_000
MIN_TIMES: Final = 100.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The scans of one size: the first, an incremental one, one after a compaction, and a full one with all known.

    append_s: seconds of the last append; events: how labeling and verification read the table; commands: how a person's
    commands do; page_s: seconds of a full page of S3's own listing, where that was used.
    """

    size: Size
    append_s: float
    first: Scan
    new: Scan
    compacted: Scan
    full: Scan
    events: EventReading
    commands: Sequence[CommandReading]
    page_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one run. neighbours: the share of the machine that other programs took, 0..1."""

    command: str
    sizes: Sequence[Measured]
    compared: Sequence[Compared]
    neighbours: float


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, the measured value, and whether the goal was met."""

    what: str
    said: str
    met: bool
    why_missed: str = "not looked into yet"

    @property
    def missed(self) -> str:
        """An empty text, or the reason why the goal was missed."""
        return "" if self.met else f"**missed**: {self.why_missed}"


def goals(report: Report) -> list[Goal]:
    """Judge the goals on the largest size and on the largest comparison."""
    largest, most = report.sizes[0], report.compared[-1]
    slowest = max(largest.first.whole_s, largest.full.whole_s)
    resident = max(scan.resident_bytes for scan in (largest.first, largest.new, largest.compacted, largest.full))
    new, size = largest.new, largest.size
    return [
        Goal(
            f"a full scan of {size.images:,} images takes under {MAX_FULL_S:.0f} s",
            f"{slowest:.1f} s",
            slowest < MAX_FULL_S,
        ),
        Goal(f"and at most {_mb(MAX_RESIDENT_BYTES)} resident", _mb(resident), resident <= MAX_RESIDENT_BYTES),
        Goal(
            "an incremental scan reads only the new label events, and lists only the last 31 days",
            f"{new.rows:,} of {size.events + size.new:,} events, {new.keys:,} of {2 * (size.images + size.new):,} keys",
            not new.full and new.rows == size.new and new.keys < largest.full.keys / 5,
        ),
        Goal(
            f"labeling and verification read {largest.events.first_rows:,} events with at most "
            f"{_mb(MAX_RESIDENT_BYTES)} resident",
            _mb(largest.events.resident_bytes),
            largest.events.resident_bytes <= MAX_RESIDENT_BYTES,
        ),
        Goal(
            "and in a later pass only the new ones",
            f"{largest.events.later_rows:,} of {largest.events.first_rows + size.new:,} events",
            largest.events.later_rows == size.new,
        ),
        Goal(
            f"at {most.images:,} images at least {MIN_TIMES:.0f} × faster than the reference sample's way",
            f"{most.times:,.0f} ×",
            most.times >= MIN_TIMES,
            "ours grows with the images, the sample's way with their square: it is reached at more images",
        ),
    ]


def render(report: Report) -> str:
    """Return the tables as Markdown."""
    lines = [
        f"`{report.command}` on {date.today().isoformat()}; {machine()}; deltalake {version('deltalake')}, "
        f"pyarrow {version('pyarrow')}, boto3 {version('boto3')}. "
        f"Other programs took {report.neighbours:.0%} of the machine meanwhile.",
        "",
        "| Scan | Whole | Listing | Table | Finding | Keys listed | Events read | Found | Resident |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for measured in report.sizes:
        served = "listing real" if measured.size.real else "listing served"
        for title, scan in (
            ("full, nothing known", measured.first),
            (f"{measured.size.new:,} images and events are new", measured.new),
            ("the table was compacted since", measured.compacted),
            ("full, on demand", measured.full),
        ):
            lines.append(
                f"| {measured.size.images:,} images, {measured.size.events:,} events, {served}: {title} | "
                f"{scan.whole_s:.2f} s | {scan.listing_s:.2f} s | {scan.table_s:.2f} s | {scan.rest_s:.2f} s | "
                f"{scan.keys:,} | {scan.rows:,} | {scan.found:,} | {_mb(scan.resident_bytes)} |"
            )
    lines += [
        "",
        "| Events that a run of labeling or verification reads | Seconds | Events read | Resident |",
        "|---|---:|---:|---:|",
        *(
            f"| {m.events.first_rows:,} events: {title} | {seconds:.2f} s | {rows:,} | {resident} |"
            for m in report.sizes
            for title, seconds, rows, resident in (
                ("first pass", m.events.first_s, m.events.first_rows, _mb(m.events.resident_bytes)),
                ("a later pass", m.events.later_s, m.events.later_rows, ""),
            )
        ),
        "",
        "| Command | Seconds | Images or rows that it is about | Resident |",
        "|---|---:|---:|---:|",
        *(
            f"| {m.events.first_rows + m.size.new:,} events: {c.command} | {c.seconds:.2f} s | {c.found:,} | "
            f"{_mb(c.resident_bytes)} |"
            for m in report.sizes
            for c in m.commands
        ),
        "",
        "| Images, and as many events | Reference sample's way | Ours | Faster | Keys into columns | Faster with it |",
        "|---:|---:|---:|---:|---:|---:|",
        *(_row(c) for c in report.compared),
        "",
        _growth(report.compared),
        "",
        "| Goal | | |",
        "|---|---:|---|",
        *(f"| {goal.what} | {goal.said} | {goal.missed} |" for goal in goals(report)),
        "",
        *(
            f"- The last of the appends of 20,000 events to the table of {m.size.events:,}: {m.append_s:.1f} s, "
            "with the scan for events that are there already."
            for m in report.sizes
        ),
        *(
            f"- S3's own listing in full pages of a thousand keys, eight asked for at once: {1000 * m.page_s:.0f} ms a "
            f"page; a million images with a Capture each, 2,000 pages at that pace, are {2000 * m.page_s:.0f} s."
            for m in report.sizes
            if m.page_s is not None
        ),
        "",
    ]
    return "\n".join(lines)


def _row(c: Compared) -> str:
    return (
        f"| {c.images:,} | {c.reference_s:.2f} s | {c.ours_s * 1000:.1f} ms | {c.times:,.0f} × | "
        f"{c.reading_s * 1000:.1f} ms | {c.times_with_reading:,.0f} × |"
    )


def _growth(compared: Sequence[Compared]) -> str:
    least, most = compared[0], compared[-1]
    return (
        f"From {least.images:,} to {most.images:,} images, {most.images / least.images:.0f} × as many, the sample's "
        f"way takes {most.reference_s / least.reference_s:.1f} × as long, ours {most.ours_s / least.ours_s:.1f} ×."
    )


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
