"""A candidate and the running release side by side on the live line, from what devices report. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from inspection.documents import DesiredState, Reported
from inspection.intervals import share_interval
from inspection.report_parts import ShadowTally

WIDE: Final = 0.1
"""An interval that is wider than this says little: more frames are needed."""
ALL: Final = "all devices"


@dataclass(frozen=True, slots=True)
class Share:
    """A share of frames with its 95 % interval. low, high: 0..1; None without a frame."""

    count: int
    of: int
    low: float | None = None
    high: float | None = None

    @classmethod
    def measured(cls, count: int, of: int) -> Share:
        """The share with its interval."""
        return cls(count, of, *share_interval(count, of)) if of else cls(count, of)

    @property
    def enough(self) -> bool:
        """Whether the interval is narrow enough to say something."""
        return self.low is not None and self.high is not None and self.high - self.low <= WIDE

    def said(self) -> str:
        """As a person reads it: `2.0 % (1.2 to 3.4 %)`."""
        if self.low is None or self.high is None:
            return "-"
        return f"{self.count / self.of:.1%} ({self.low * 100:.1f} to {self.high:.1%})"


@dataclass(frozen=True, slots=True)
class Line:
    """What one device saw, or all of them. release_*: of the running release on the same frames.

    Args:
        device: its name, or `ALL`.
        p95_ms: processor time of the candidate's one thread for a frame; None for all devices.
        release_p95_ms: the running release's time for a frame on that device, with its own number of threads.
        says: why the device does not compare now; empty where it does.
    """

    device: str
    frames: int
    skipped: int
    fail: Share
    release_fail: Share
    uncertain: Share
    release_uncertain: Share
    disagreed: Share
    p95_ms: float | None
    release_p95_ms: float | None
    says: str = ""

    @property
    def enough(self) -> bool:
        """Whether the shares are known well enough to judge by."""
        return self.fail.enough and self.uncertain.enough and self.disagreed.enough


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """All devices that an order names, and their sum. The sum counts devices that compare with one release."""

    candidate: str
    release: str | None
    lines: tuple[Line, ...]
    total: Line

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; shares have `count`, `of`, `low` and `high`."""
        rows = [{**asdict(line), "enough": line.enough} for line in (*self.lines, self.total)]
        return {"candidate": self.candidate, "release": self.release, "devices": rows[:-1], "all": rows[-1]}


def shadow_report(desired: DesiredState, reports: Iterable[Reported]) -> ShadowReport | None:
    """What is known of the candidate that a desired state orders; None where it orders none.

    The running release is the one that most of the devices with counts run. Devices that run another one are listed and
    not added up: their numbers compare the candidate with that one.
    """
    order = desired.shadow
    if order is None:
        return None
    by_device = {report.device: report for report in reports}
    found = [(name, by_device.get(name)) for name in order.devices]
    counted = [
        report.running_release
        for _, report in found
        if report is not None and _tally(report, order.release_digest) is not None
    ]
    release = max(sorted(set(filter(None, counted))), key=counted.count, default=None)
    lines, added = [], []
    for name, report in found:
        tally = _tally(report, order.release_digest) if report is not None else None
        if report is None or tally is None:
            lines.append(_line(name, _NONE, None, None, _why_not(report, desired.use_case)))
            continue
        other = report.running_release != release
        says = tally.reason or (f"runs {(report.running_release or 'no release')[:12]}: not added up" if other else "")
        lines.append(_line(name, _counts(tally), tally.p95_ms, _p95_of(report), says))
        if not other:
            added.append(_counts(tally))
    total = tuple(sum(column) for column in zip(*added, strict=True)) if added else _NONE
    return ShadowReport(order.release_digest, release, tuple(lines), _line(ALL, total, None, None, ""))


_NONE: Final = (0,) * 7


def _counts(tally: ShadowTally) -> tuple[int, ...]:
    return (
        tally.frames, tally.skipped, tally.fail, tally.former_fail, tally.uncertain, tally.former_uncertain,
        tally.disagreed,
    )  # fmt: skip


def _line(name: str, counts: tuple[int, ...], p95_ms: float | None, release_p95_ms: float | None, says: str) -> Line:
    frames, skipped, *rest = counts
    fail, release_fail, uncertain, release_uncertain, disagreed = (Share.measured(count, frames) for count in rest)
    return Line(
        name, frames, skipped, fail, release_fail, uncertain, release_uncertain, disagreed, p95_ms, release_p95_ms, says
    )


def _tally(report: Reported, digest: str) -> ShadowTally | None:
    found = report.shadow
    return found if found is not None and found.release_digest == digest else None


def _p95_of(report: Reported) -> float | None:
    tallies = report.tallies or ()
    return next((item.p95_ms for item in tallies if item.release_digest == report.running_release), None)


def _why_not(report: Reported | None, use_case: str) -> str:
    if report is None:
        return "has not reported"
    if report.use_case not in (None, use_case):
        return f"inspects {report.use_case}"
    return "has not taken the candidate yet"
