"""What a candidate decided beside the running release, and how long it has to rest: values and rules. No I/O."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from edge_agent.ota.tallies import p95_of
from inspection import ShadowTally, Verdict
from inspection.report_parts import ShadowCounts

_TIMES: Final = 2000
"""The latest times of which the percentile is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptShadow(ShadowCounts):
    """The counts as they lie on the disk.

    beside: the release that ran, empty before a first frame. cpu_ms: the latest times, oldest first.
    """

    beside: str
    cpu_ms: tuple[float, ...] = ()

    def reported(self, digest: str, reason: str) -> ShadowTally:
        """As the device reports it."""
        return ShadowTally(release_digest=digest, p95_ms=p95_of(self.cpu_ms), reason=reason, **_counted(self))


@dataclass(slots=True)
class Counts:
    """The fields of `ShadowCounts` while they grow. Safe to share between threads: one adds, one skips, others read."""

    since: datetime
    beside: str
    frames: int = 0
    skipped: int = 0
    disagreed: int = 0
    fail: int = 0
    uncertain: int = 0
    former_fail: int = 0
    former_uncertain: int = 0
    cpu_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, candidate: Verdict, release: Verdict, cpu_s: float) -> bool:
        """Count a frame that both judged; whether their verdicts differ."""
        with self._lock:
            self.frames += 1
            self.fail += candidate is Verdict.FAIL
            self.uncertain += candidate is Verdict.UNCERTAIN
            self.former_fail += release is Verdict.FAIL
            self.former_uncertain += release is Verdict.UNCERTAIN
            self.disagreed += candidate is not release
            self.cpu_ms.append(cpu_s * 1000)
        return candidate is not release

    def skip(self) -> None:
        """Count a frame that the candidate had no time for."""
        with self._lock:
            self.skipped += 1

    def reported(self, digest: str, reason: str) -> ShadowTally:
        """As the device reports it."""
        return self.kept().reported(digest, reason)

    def kept(self) -> KeptShadow:
        """As it lies on the disk, all of one moment."""
        with self._lock:
            times = tuple(round(ms, 1) for ms in self.cpu_ms)
            return KeptShadow(beside=self.beside, cpu_ms=times, **_counted(self))

    @classmethod
    def of(cls, kept: KeptShadow) -> Counts:
        """Go on from what lies on the disk."""
        return cls(beside=kept.beside, cpu_ms=deque(kept.cpu_ms, _TIMES), **_counted(kept))


def _counted(counts: ShadowCounts | Counts) -> dict[str, Any]:
    """What `ShadowCounts` holds, by name."""
    return {field.name: getattr(counts, field.name) for field in fields(ShadowCounts) if field.name != "unknown"}


def rest_s(cpu_s: float, took_s: float, cpu_share: float) -> float:
    """How long the candidate rests after a frame, so that it stays below its share of one processor core.

    Args:
        cpu_s: seconds of processor time that the frame took.
        took_s: seconds from the frame's begin to its end.
        cpu_share: the share, above 0.

    >>> rest_s(cpu_s=0.2, took_s=0.3, cpu_share=0.5)
    0.10000000000000003
    """
    return max(0.0, cpu_s / cpu_share - took_s)
