"""The evaluation report: how a model will behave on the line, measured with the code that the device runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from inspection.acceptance import Acceptance
from inspection.codec import LEFT_OUT, Document, Part
from inspection.decode import Nms
from inspection.documents import GoldenSample, InputSpec
from inspection.drift import DriftReference
from inspection.intervals import share_interval
from inspection.outputs import BOXES, check_form
from inspection.picture import PictureLimits
from inspection.score_table import ScoreTable
from inspection.verdict import ClassThreshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Part):
    """`count` of `n` parts (of labels, for a recall), with a 95 % Wilson score interval (JASA 22, 1927)."""

    count: int
    n: int

    @property
    def value(self) -> float | None:
        """`count / n`, 0..1; None where n is 0."""
        return self.count / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high bound of the interval, 0..1; (0, 1) where n is 0."""
        return share_interval(self.count, self.n)

    def parts_for(self, bound: float) -> int | None:
        """How many parts, with no more than `count` errors among them, have an interval that ends at or below `bound`.

        None where no number of parts has: the upper end is never 0.
        """
        if bound <= 0.0:
            return None

        def keeps(n: int) -> bool:
            return Rate(count=self.count, n=n).interval[1] <= bound

        low = high = max(1, self.count)
        while not keeps(high):
            low, high = high, high * 2
        while low < high:  # the upper end falls as the number of parts rises
            middle = (low + high) // 2
            low, high = (low, middle) if keeps(middle) else (middle + 1, high)
        return high

    def __str__(self) -> str:
        if not self.n:
            return "not measurable (n=0)"
        low, high = self.interval
        return f"{self.count / self.n:.3f} ({self.count}/{self.n}, 95 % {low:.2f}-{high:.2f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Part):
    """The rates of a part of a split: of one class, one camera, one size of defect, or one reason of capture.

    recall: labels found, of all labels, at the operating threshold and IoU 0.5. escape, overkill, review: over parts.
    `components/evaluation/breakdown.py` says what each rate counts. review: None where it is not counted: of a class,
    of a size, and in reports of schema version 1.
    """

    recall: Rate
    escape: Rate
    overkill: Rate
    review: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores(Slice):
    """The scores of one class. precision: detections that match a label, of all. mAP is None where no label has it."""

    precision: Rate
    map50: float | None = None
    map50_95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores(Part):
    """The scores on one split. mAP by the COCO rules; precision and recall at the operating threshold, IoU 0.5.

    escape: defective parts judged good. overkill: good parts judged defective. review: parts judged uncertain, which a
    person looks at. escapes_in_review: the escapes that are among them. escape_by_location: defective parts of which no
    detection at the threshold overlaps a label, whatever else was detected. map50_by_class: class -> 0..1.
    by_reason: reason of capture -> rates. by_class, by_camera, by_size: empty in reports of early versions. review,
    escapes_in_review, escape_by_location: None, and by_reason empty, in reports of schema version 1.
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
    review: Rate | None = None
    escapes_in_review: int | None = None
    escape_by_location: Rate | None = None
    by_reason: Mapping[str, Slice] = field(default_factory=dict)
    image_auroc: float | None = field(default=None, metadata=LEFT_OUT)
    """Of a model that answers an anomaly map: the share of pairs of a good and a defective part in which the defective
    one scores higher, 0..1; left out where there are not both, and of other models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Part):
    """This model's test mAP50 minus the champion's, with the 95 % interval of a paired bootstrap over the parts."""

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
    """The champion's scores on the same split, with the champion's own thresholds."""

    version: int
    model_sha256: str
    test: Scores
    map50_difference: Difference | None = None
    seen_test_images: int | None = None
    """Test images that it was trained or tuned on, or whose part it was; null where its dataset is not known. On these
    it looks too good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UncomparedChampion(Part):
    """The champion that a model could not be compared with, and why."""

    version: int
    model_sha256: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed(Part):
    """Latency and memory of the deployed path, in a process of its own on the machine that evaluated.

    latency_ms: milliseconds from image to verdict. peak_memory_bytes: the peak resident memory of the process (runtime,
    model, one image at a time); 0 where the system does not report it.
    """

    threads: int
    frames: int
    latency_ms_p50: float
    latency_ms_p95: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Variant(Part):
    """The int8 variant of the model: whether the release keeps it, and why. No device runs a variant that is not kept.

    It is scored with the thresholds of the fp32 model, because a device that runs it uses those.
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
    """Everything that the gate, the approver and the release read.

    uncompared: the champion, where it could not be compared with. latency_ms_p50, deployed: of reports of schema
    version 1 only; later the latency is a document of its own (`latency_report.py`). int8: None in early reports.
    golden_sha256: of the golden samples' document, `golden/golden.json`; '' in reports of earlier versions.
    Schema version 2 counts reviews, and parts by reason of capture.
    """

    newest: ClassVar[int] = 2
    schema_version: int = 2
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
    uncompared: UncomparedChampion | None = None
    latency_ms_p50: float = 0.0
    deployed: Deployed | None = None
    int8: Int8Variant | None = None
    picture_limits: PictureLimits | None = None
    """Of the training split, as the training measured them; here they are part of what is approved."""
    golden_sha256: str = ""
    drift: DriftReference | None = field(default=None, metadata=LEFT_OUT)
    """What the model learned from and finds, to compare a line with; left out in reports of earlier versions."""
    acceptance: Acceptance | None = field(default=None, metadata=LEFT_OUT)
    """The acceptance rules by which labels and detections were judged; left out where each defect fails a part."""
    output: str = field(default=BOXES, metadata=LEFT_OUT)
    """What the model answers, see `inspection.outputs`; left out for boxes."""
    score_tables: Mapping[str, ScoreTable] | None = field(default=None, metadata=LEFT_OUT)
    """What calibrates the scores, by class. Thresholds and detections are of calibrated scores. Left out where none."""
    calibration: str = field(default="", metadata=LEFT_OUT)
    """In words, what was calibrated and what was not; left out where it was not asked for."""

    def __post_init__(self) -> None:
        check_form(self.output, self.classes)

    @property
    def int8_sha256(self) -> str:
        """The SHA-256 of the int8 model that is kept for the release; '' where none is."""
        return self.int8.model_sha256 if self.int8 is not None and self.int8.kept else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet(Document):
    """The golden samples of a run. Their images are in the same folder, `golden`, of the run's artifacts."""

    samples: tuple[GoldenSample, ...]
