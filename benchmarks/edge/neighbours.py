"""The share of the machine that other programs took during a measurement, so that a report shows a busy machine."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STAT = Path("/proc/stat")


class Neighbours:
    """Counts the use by other programs from its creation on. Call `share` after all child processes have ended."""

    def __init__(self) -> None:
        self._began, self._busy_s, self._own_s = time.monotonic(), _busy_s(), _own_s()

    def share(self) -> float:
        """Processor time of all other programs since then, as a share of the machine's, 0..1."""
        others_s = (_busy_s() - self._busy_s) - (_own_s() - self._own_s)
        return max(0.0, others_s / ((time.monotonic() - self._began) * (os.cpu_count() or 1)))


def _busy_s() -> float:
    # proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
    numbers = [int(text) for text in _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return (sum(numbers) - numbers[3] - numbers[4]) / _TICKS_PER_S


def _own_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)
