"""Counts what the latest releases have decided on this line, for a probation and for the device report."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from edge_agent.ota.probation import Tally
from edge_agent.result import Result
from inspection import LineTally, Verdict

FRAMES: Final = 2000
"""The latest judged frames of each release that count."""
RELEASES: Final = 3
"""The latest releases that are counted."""


@dataclass(slots=True)
class Line:
    """What is counted of one release. results: each with its milliseconds, None where nothing was inspected."""

    since: datetime
    results: deque[tuple[Verdict, float | None]] = field(default_factory=deque)
    compared: deque[bool] = field(default_factory=lambda: deque(maxlen=FRAMES))
    """For each frame that the former release judged too: whether the two verdicts differ."""
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    """How many of `results` are each verdict."""
    fresh: int = 0
    """How many of those count for a probation."""
    p95_ms: float | None = None
    p95_known: bool = True

    def add(self, verdict: Verdict, infer_ms: float | None) -> None:
        """Add one result, and let the oldest go where there are too many."""
        self.results.append((verdict, infer_ms))
        self.verdicts[verdict] += 1
        if infer_ms is not None:
            self.fresh += 1
            self.p95_known = False
        while self.judged > FRAMES or len(self.results) > 2 * FRAMES:
            self.verdicts[self.results.popleft()[0]] -= 1
        self.fresh = min(self.fresh, self.judged)

    @property
    def judged(self) -> int:
        """How many of `results` are verdicts."""
        return len(self.results) - self.verdicts[Verdict.NOT_INSPECTED]


class Tallies:
    """The latest results of the latest releases. Safe to share between threads.

    Args:
        utc_now: the time of day, for `LineTally.since`, which people read.
    """

    def __init__(self, utc_now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._utc_now = utc_now
        self._lock = threading.Lock()
        self._lines: OrderedDict[str, Line] = OrderedDict()
        self.changes = 0
        """Goes up with each change."""

    def add(self, result: Result) -> None:
        """Count one result; a result that names no release counts nowhere."""
        if result.release_digest is None:
            return
        with self._lock:
            self._of(result.release_digest).add(result.verdict, result.infer_ms)
            self._latest(result.release_digest)

    def add_compared(self, digest: str, differs: bool) -> None:
        """Count one frame of a release that the release before it judged too."""
        with self._lock:
            self._of(digest).compared.append(differs)
            self.changes += 1

    def begin(self, digest: str, *, goes_on: bool = False) -> None:
        """A probation begins: of `of`, only the frames from now on count.

        Args:
            goes_on: the probation went on after a restart, so the line's numbers go on too.
        """
        with self._lock:
            if not goes_on:
                self._lines.pop(digest, None)
            self._of(digest).fresh = 0
            self._latest(digest)

    def of(self, digest: str | None) -> Tally:
        """What a release has decided since `begin`, or since the agent's start; that of no frame where it did not."""
        with self._lock:
            line = self._lines.get(digest or "")
            if line is None or not line.fresh:
                return Tally()
            judged = [item for item in line.results if item[1] is not None][-line.fresh :]
            verdicts = [verdict for verdict, _ in judged]
            p95_ms = p95_of([ms for _, ms in judged if ms is not None])
        return Tally(len(judged), verdicts.count(Verdict.FAIL), verdicts.count(Verdict.UNCERTAIN), p95_ms)

    def former(self, digest: str | None) -> Tally:
        """What a release has decided on the line, earlier starts of the agent included."""
        line = next((line for line in self.lines() if line.release_digest == digest), None)
        return Tally(line.frames, line.fail, line.uncertain, line.p95_ms) if line is not None else Tally()

    def lines(self) -> tuple[LineTally, ...]:
        """What each release has decided, newest last."""
        with self._lock:
            lines = list(self._lines.items())
            # Sorted below, without the lock: the inspection loop waits for it at each frame.
            times = {digest: _times(line) for digest, line in lines if not line.p95_known}
            for _, line in lines:
                line.p95_known = True
        p95 = {digest: p95_of(found) for digest, found in times.items()}
        with self._lock:
            for digest, line in lines:
                line.p95_ms = p95.get(digest, line.p95_ms)
            return tuple(_as_reported(digest, line) for digest, line in lines)

    def kept(self) -> tuple[tuple[str, Line], ...]:
        """All that is counted, by release, newest last; a copy."""
        with self._lock:
            return tuple(
                (digest, Line(line.since, deque(line.results), deque(line.compared, FRAMES)))
                for digest, line in self._lines.items()
            )

    def restore(self, lines: Iterable[tuple[str, Line]]) -> None:
        """Go on from what an earlier start had counted. For the start, before anything else."""
        with self._lock:
            for digest, line in lines:
                self._lines[digest] = line
                self._latest(digest)

    def _of(self, digest: str) -> Line:
        return self._lines.setdefault(digest, Line(self._utc_now()))

    def _latest(self, digest: str) -> None:
        self.changes += 1
        self._lines.move_to_end(digest)
        while len(self._lines) > RELEASES:
            self._lines.popitem(last=False)


def _as_reported(digest: str, line: Line) -> LineTally:
    return LineTally(
        release_digest=digest,
        since=line.since,
        frames=line.judged,
        fail=line.verdicts[Verdict.FAIL],
        uncertain=line.verdicts[Verdict.UNCERTAIN],
        not_inspected=line.verdicts[Verdict.NOT_INSPECTED],
        p95_ms=line.p95_ms,
        compared=len(line.compared),
        disagreed=sum(line.compared),
    )


def _times(line: Line) -> list[float]:
    return [ms for _, ms in line.results if ms is not None]


def p95_of(times: Iterable[float]) -> float | None:
    """The time that 95 in 100 of these frames did not exceed, in the unit given; None of no frame."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else None
