"""The goals for the device's inference, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.edge.interleave import Timings

REFERENCE, BEST, FP32, INT8, OPENVINO, SGEMM = "a", "b", "c", "d", "e", "sgemm"


@dataclass(frozen=True, slots=True)
class Run:
    """The timings of every contender with one number of threads, and the FLOPs of the network that (b) to (e) run.

    neighbours: the share of the machine that other programs took meanwhile, 0..1.
    """

    threads: int
    timings: Mapping[str, Timings]
    flops: int
    sgemm_flops: int
    neighbours: float = 0.0

    def faster(self, name: str) -> float:
        """How many times faster than the reference, by medians."""
        return self.timings[REFERENCE].p50 / self.timings[name].p50

    @property
    def gflops_per_s(self) -> float:
        """The best rate of the matrix product in this run."""
        return self.sgemm_flops / self.timings[SGEMM].fastest / 1e6

    @property
    def over_arithmetic(self) -> float:
        """The shortest `session.run` of (c), over the time that its FLOPs take at the rate of the matrix product."""
        return self.timings[FP32].fastest_infer / (self.flops / self.gflops_per_s / 1e6)


@dataclass(frozen=True, slots=True)
class Goal:
    """A number of a run and its bound. why_missed: the known cause of a miss, written by the person who studied it."""

    what: str
    value: Callable[[Run], float]
    bound: float
    at_least: bool
    form: str
    why_missed: str = ""

    def met(self, run: Run) -> bool:
        """Whether this run is within the bound."""
        value = self.value(run)
        return value >= self.bound if self.at_least else value <= self.bound

    def said(self, run: Run) -> str:
        """The number as the table shows it."""
        return f"{self.form.format(self.value(run))}{'' if self.met(run) else ' **missed**'}"


GOALS: Final = (
    Goal("(c) at least 1.7 × faster than (a)", lambda run: run.faster(FP32), 1.7, True, "{:.2f} ×"),
    Goal("(d) at least 2.2 × faster than (a)", lambda run: run.faster(INT8), 2.2, True, "{:.2f} ×"),
    Goal("(e) at least 2.7 × faster than (a)", lambda run: run.faster(OPENVINO), 2.7, True, "{:.2f} ×"),
    Goal(
        "`session.run` of (c) within 1.3 × of its arithmetic",
        lambda run: run.over_arithmetic,
        1.3,
        False,
        "{:.2f} ×",
    ),
    Goal("all else of (c) within 4 ms", lambda run: run.timings[FP32].rest_p50, 4.0, False, "{:.2f} ms"),
    Goal(
        "(c) resident in at most a third of (a)",
        lambda run: run.timings[FP32].resident_bytes / run.timings[REFERENCE].resident_bytes,
        1 / 3,
        False,
        "{:.2f}",
    ),
)
