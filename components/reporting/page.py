"""Renders the report as one self-contained HTML page and as a Markdown summary. All data is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from components.reporting.agreement import MATCH_IOU
from components.reporting.counts import DayCount
from components.reporting.report import LabelReport
from components.reporting.suspects import Doubt

_TEMPLATES: Final = Path(__file__).parent / "templates"
_DAYS_SHOWN: Final = 60
_DAYS_SUMMED: Final = 7
_MAX_TEXT: Final = 120

DOUBTS: Final = {
    Doubt.MISSING_BOX: "a box may be missing",
    Doubt.NOTHING_THERE: "there may be nothing in a box",
    Doubt.OTHER_CLASS: "a box may have the wrong class",
    Doubt.DUPLICATES_DIFFER: "near-duplicates are labelled differently",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart. x: its left edge; approved, rejected: heights. The highest bar is 100 units high."""

    day: date
    x: int
    approved: float
    rejected: float


def to_html(report: LabelReport) -> str:
    """Render the page. It contains its styles and pictures and no script, and its policy lets it load nothing else."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    style = (_TEMPLATES / "label_report.css").read_text(encoding="utf-8")
    days = _latest(report.counts.days, _DAYS_SHOWN)
    return environment.get_template("label_report.html").render(
        report=report,
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        doubts=DOUBTS,
        match_iou=MATCH_IOU,
        days=days,
        bars=_bars(days),
        classes=[count.name for count in report.counts.classes],
    )


def to_markdown(report: LabelReport) -> str:
    """Render the summary that a run of the pipeline shows: the counts, without pictures."""
    counts, looks, coverage = report.counts, report.looks, report.coverage
    lines = [
        f"# Labels of {_text(report.use_case)}",
        "",
        f"{len(counts.approved)} approved images with {counts.boxes} boxes ({counts.without_box} without a box, "
        f"{counts.unverified} imported without a verifier here); {counts.waiting} wait for a verifier, "
        f"{counts.rejected} are rejected. Label store version {report.label_version}, "
        f"{report.made_at:%Y-%m-%d %H:%M} UTC.",
        "",
        *_table(("class", "images", "boxes"), ((c.name, c.images, c.boxes) for c in counts.classes)),
        f"## The last {_DAYS_SUMMED} days with work",
        "",
        *_table(
            ("day", "labelled", "approved", "rejected", "boxes"),
            ((d.day, d.labelled, d.approved, d.rejected, sum(d.boxes.values())) for d in counts.days[-_DAYS_SUMMED:]),
        ),
        "## People",
        "",
        *_table(
            ("user", "labels", "days", "a day", "rejected"),
            ((f"annotator {p.user}", p.labelled, p.days, f"{p.per_day:.1f}", p.rejected) for p in counts.annotators),
        ),
        *_table(
            ("user", "decisions", "days", "a day", "rejected"),
            ((f"verifier {p.user}", p.decided, p.days, f"{p.per_day:.1f}", p.rejected) for p in counts.verifiers),
        ),
        "## Labels and models",
        "",
    ]
    if looks.absent is not None:
        lines += [f"No champion to ask: {_text(looks.absent)}.", ""]
    lines += _table(
        ("model", "its boxes were shown", "images", "unchanged", "kept", "added", "removed", "IoU"),
        (
            (
                a.model, "yes" if a.prelabelled else "no", a.images, f"{a.unchanged} ({a.unchanged_share:.0%})",
                a.kept, a.added, a.removed, f"{a.mean_iou:.2f}",
            )
            for a in looks.agreements
        ),
    )  # fmt: skip
    lines += [
        "## Suspected label errors",
        "",
        f"{looks.suspected} in {looks.looked_at} of {looks.approved} approved images; "
        f"{looks.near_duplicates} pairs of near-duplicates; {looks.unreadable} images could not be read.",
        "",
        *_table(("suspicion", "images"), ((DOUBTS[doubt], n) for doubt, n in sorted(looks.counts.items()))),
        "## Coverage",
        "",
        f"{coverage.approved} of {coverage.images} images in the raw bucket have an approved label.",
        "",
        *_table(
            ("device", "camera", "images", "approved", "last image"),
            (
                (c.device, c.camera or "not known", c.images, f"{c.approved} ({c.share:.0%})", c.last)
                for c in coverage.cameras
            ),
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _latest(days: Sequence[DayCount], count: int) -> list[DayCount]:
    """Return at most `count` calendar days up to the last day with work. A day without work has zero counts."""
    if not days:
        return []
    last = days[-1].day
    known = {day.day: day for day in days}
    first = max(days[0].day, last - timedelta(days=count - 1))
    span = (last - first).days + 1
    return [known.get(first + timedelta(n), DayCount(first + timedelta(n), 0, 0, 0, {})) for n in range(span)]


def _bars(days: Sequence[DayCount]) -> list[Bar]:
    highest = max((day.approved + day.rejected for day in days), default=0) or 1
    return [
        Bar(day.day, 12 * place, 100 * day.approved / highest, 100 * day.rejected / highest)
        for place, day in enumerate(days)
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    body = [f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows]
    if not body:
        return []
    return [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *body, ""]


def _text(value: object) -> str:
    """Return data as one line of Markdown without markup. Kubeflow's page turns Markdown into HTML."""
    line = " ".join(str(value).split())[:_MAX_TEXT]
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|!#])", r"\\\1", line)
