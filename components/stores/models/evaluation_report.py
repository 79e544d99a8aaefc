"""The evaluation report: how a model will behave on the line, as measured through the deployed path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from inspection.codec import Document, Part
from inspection.decode import Nms
from inspection.documents import GoldenSample, InputSpec
from inspection.verdict import ClassThreshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Part):
    """`count` of `n` parts (or of labels, where it is a recall), with a 95 % Wilson score interval (JASA 22, 1927)."""

    count: int
    n: int

    @property
    def value(self) -> float | None:
        """0..1; None where nothing supports it."""
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
class Slice(Part):
    """A piece of a split: one class, one camera, one size of defect; what each rate counts there: `breakdown`.

    recall: labels found, of labels, at the operating threshold and IoU 0.5. escape, overkill: over parts.
    """

    recall: Rate
    escape: Rate
    overkill: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores(Slice):
    """One class. precision: detections that meet a label, of detections. mAP is None where it has no label."""

    precision: Rate
    map50: float | None = None
    map50_95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores(Part):
    """On one split. mAP by the COCO rules; precision and recall at the operating threshold, IoU 0.5.

    escape: defective parts judged good. overkill: good parts judged defective. map50_by_class: class -> 0..1.
    by_class, by_camera, by_size: empty in reports of before there were any.
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
    by_class: Mapping[str, ClassScores] = field(default_factory=dict)
    by_camera: Mapping[str, Slice] = field(default_factory=dict)
    by_size: Mapping[str, Slice] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Part):
    """This model's test mAP50 less the champion's, with the 95 % interval of a paired bootstrap over the parts."""

    value: float
    low: float
    high: float
    parts: int
    resamples: int
    seed: int

    def __str__(self) -> str:
        return f"{self.value:+.3f} (95 % {self.low:+.3f} to {self.high:+.3f}, {self.parts} parts)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionScores(Part):
    """The champion, scored again on the same split with its own thresholds."""

    version: int
    model_sha256: str
    test: Scores
    map50_difference: Difference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed(Part):
    """The deployed path in a process of its own on the machine of the evaluation: milliseconds from image to verdict.

    peak_memory_bytes: the most that the process ever had in memory (runtime, model, one frame at a time); 0 where the
    system does not tell.
    """

    threads: int
    frames: int
    latency_ms_p50: float
    latency_ms_p95: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Variant(Part):
    """The int8 variant beside the fp32 model: whether it is kept for the release, and why. Not kept: no device runs it.

    Scored with the thresholds of the fp32 model, as a device that runs it has them.
    """

    kept: bool
    reason: str
    model_sha256: str = ""
    bytes: int = 0
    validation_map50: float | None = None
    test: Scores | None = None
    deployed: Deployed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport(Document):
    """Everything that the gate, the approver and the release read. latency_ms_p50: image to verdict, this machine.

    deployed, int8: None in reports of before they were measured; `int8` also where the training made no variant.
    """

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
    deployed: Deployed | None = None
    int8: Int8Variant | None = None

    @property
    def int8_sha256(self) -> str:
        """The digest of the int8 model that belongs to this version; '' where none does."""
        return self.int8.model_sha256 if self.int8 is not None and self.int8.kept else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet(Document):
    """The golden samples of a run; their images lie beside it in the run's `golden` folder."""

    samples: tuple[GoldenSample, ...]
