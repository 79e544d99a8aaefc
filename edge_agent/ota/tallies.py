"""Counts what the latest releases have decided, so that a release on probation can be compared with the one before."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Final

from edge_agent.ota.probation import Tally
from edge_agent.result import Result
from inspection import Verdict

_FRAMES: Final = 2000
"""The latest frames of each release that count."""
_RELEASES: Final = 3


class Tallies:
    """The verdicts and times of the latest frames, by release. In memory only. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: OrderedDict[str, deque[tuple[Verdict, float]]] = OrderedDict()

    def add(self, result: Result) -> None:
        """Count one inspected frame; a result without a verdict of a release counts nowhere."""
        if result.release_digest is None or result.infer_ms is None:
            return
        with self._lock:
            frames = self._frames.setdefault(result.release_digest, deque(maxlen=_FRAMES))
            frames.append((result.verdict, result.infer_ms))
            self._frames.move_to_end(result.release_digest)
            while len(self._frames) > _RELEASES:
                self._frames.popitem(last=False)

    def forget(self, digest: str) -> None:
        """Begin to count a release anew."""
        with self._lock:
            self._frames.pop(digest, None)

    def of(self, digest: str | None) -> Tally:
        """The tally of a release; that of no frame where it has inspected none."""
        with self._lock:
            frames = list(self._frames.get(digest or "", ()))
        if not frames:
            return Tally()
        times = sorted(ms for _, ms in frames)
        verdicts = [verdict for verdict, _ in frames]
        return Tally(
            len(frames),
            verdicts.count(Verdict.FAIL),
            verdicts.count(Verdict.UNCERTAIN),
            times[min(len(times) - 1, int(0.95 * len(times)))],
        )
