"""The evaluation report: how a model will behave on the line, as measured through the deployed path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from inspection.codec import Document, Part
from inspection.decode import Nms
from inspection.documents import GoldenSample, InputSpec
from inspection.verdict import ClassThreshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Part):
    """`count` of `n` parts, with a 95 % Wilson score interval (Wilson, JASA 22, 1927)."""

    count: int
    n: int

    @property
    def value(self) -> float | None:
        """0..1; None where no part supports it."""
        return self.count / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high bound, 0..1; (0, 1) where nothing was seen."""
        if not self.n:
            return 0.0, 1.0
        z = 1.959963984540054
        p = self.count / self.n
        centre = p + z * z / (2 * self.n)
        spread = z * math.sqrt(p * (1 - p) / self.n + z * z / (4 * self.n * self.n))
        scale = 1 + z * z / self.n
        return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)

    def __str__(self) -> str:
        if not self.n:
            return "not measurable (n=0)"
        low, high = self.interval
        return f"{self.count / self.n:.3f} ({self.count}/{self.n}, 95 % {low:.2f}-{high:.2f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores(Part):
    """On one split. mAP by the COCO rules; precision and recall at the operating threshold, IoU 0.5.

    escape: defective parts judged good. overkill: good parts judged defective. map50_by_class: class -> 0..1.
    """

    images: int
    parts: int
    boxes: int
    map50: float
    map50_95: float
    precision: float
    recall: float
    escape: Rate
    overkill: Rate
    map50_by_class: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionScores(Part):
    """The champion, scored again on the same split with its own thresholds."""

    version: int
    model_sha256: str
    test: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport(Document):
    """Everything that the gate, the approver and the release read. latency_ms_p50: image to verdict, this machine."""

    model_sha256: str
    dataset_digest: str
    use_case_digest: str
    classes: tuple[str, ...]
    preprocess: InputSpec
    nms: Nms
    thresholds: Mapping[str, ClassThreshold]
    threshold_source: str
    validation: Scores
    test: Scores
    champion: ChampionScores | None = None
    latency_ms_p50: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet(Document):
    """The golden samples of a run; their images lie beside it in the run's `golden` folder."""

    samples: tuple[GoldenSample, ...]
