"""Calibrated scores: a small table per class turns a model's score into how often such a detection is true."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from inspection.codec import Part
from inspection.geometry import Detection


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable(Part):
    """Points of a rising line from (0, 0) to (1, 1). The line rises everywhere, so that the order of scores stays."""

    raw: tuple[float, ...]
    """The model's scores, rising from 0 to 1."""
    calibrated: tuple[float, ...]
    """The share of detections with that score that are true, rising from 0 to 1."""

    def __post_init__(self) -> None:
        for name, values in (("raw", self.raw), ("calibrated", self.calibrated)):
            rises = all(low < high for low, high in pairwise(values))
            if len(values) < 2 or (values[0], values[-1]) != (0.0, 1.0) or not rises:
                raise ValueError(f"expected {name} scores that rise from 0 to 1, but got {values}")
        if len(self.raw) != len(self.calibrated):
            raise ValueError(f"expected as many calibrated as raw scores, got {len(self.calibrated)}, {len(self.raw)}")

    def of(self, score: float) -> float:
        """The calibrated score of a raw one, both 0..1."""
        return _on_line(score, self.raw, self.calibrated)

    def raw_of(self, score: float) -> float:
        """The raw score of a calibrated one, both 0..1."""
        return _on_line(score, self.calibrated, self.raw)


def _on_line(value: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    at = min(max(bisect_right(xs, value), 1), len(xs) - 1)
    low, high = xs[at - 1], xs[at]
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return ys[at - 1] + share * (ys[at] - ys[at - 1])


def calibrated(found: Sequence[Detection], tables: Mapping[str, ScoreTable]) -> tuple[Detection, ...]:
    """The detections with calibrated scores, highest first. A class without a table keeps the model's scores."""
    if not tables:
        return tuple(found)
    changed = [
        Detection(d.class_name, tables[d.class_name].of(d.score), d.box) if d.class_name in tables else d for d in found
    ]
    return tuple(sorted(changed, key=lambda d: -d.score))


def raw_floor(floor: float, classes: Sequence[str], tables: Mapping[str, ScoreTable]) -> float:
    """The lowest raw score that any class may have at a calibrated score of `floor`."""
    return min([tables[name].raw_of(floor) if name in tables else floor for name in classes], default=floor)
