"""The documents that teams exchange: Captures, releases, desired states, device reports. `codec` says their form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum

from inspection.acceptance import Acceptance
from inspection.codec import LEFT_OUT, Document, Part
from inspection.decode import Nms
from inspection.drift import DriftReference
from inspection.geometry import Box, Detection
from inspection.outputs import BOXES, check_form
from inspection.paths import check_name
from inspection.paths import check_sha256 as check_sha256  # its readers import it with the documents
from inspection.picture import PictureLimits
from inspection.preprocess import ColourOrder, Interpolation, Preprocess, Tiles
from inspection.report_parts import AgentState, CameraState, FailedRelease, LineTally, ShadowTally
from inspection.rollout import RolloutPlan, SoftwarePlan
from inspection.score_table import ScoreTable
from inspection.verdict import ClassThreshold, Verdict

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Reason(StrEnum):
    """Why an image was sent."""

    UNCERTAIN = "uncertain"
    NOTHING_FOUND = "nothing-found"
    CONTROL = "control"
    OBJECTION = "objection"
    DISAGREEMENT = "disagreement"
    INITIAL = "initial"
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowVerdict(Part):
    """What a candidate decided on a frame, beside the running release."""

    release_digest: str
    """The candidate."""
    verdict: Verdict
    """Its verdict, which decided nothing on the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(Document):
    """Why one image was sent; immutable. Times are UTC."""

    capture_id: str
    """The id of this Capture; a frame that is sent twice for one reason has the same id."""
    sha256: str
    """The image."""
    device: str
    """Who sent it."""
    camera: str
    """Which camera of the device."""
    captured_at: datetime
    """When it was taken."""
    reason: Reason
    """Why it was sent."""
    sent_at: datetime | None = None
    """When it left the device."""
    part_id: str | None = None
    """The part that it shows."""
    original_name: str | None = None
    """The file's name at the camera."""
    release_digest: str | None = None
    """The release that judged it."""
    detections: tuple[Detection, ...] = ()
    """What that release found."""
    verdict: Verdict | None = None
    """What that release decided."""
    shadow: ShadowVerdict | None = None
    """What a candidate that judged beside the release decided otherwise; null for none."""

    def __post_init__(self) -> None:
        check_sha256(self.sha256)
        check_name("device", self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile(Part):
    """One model of a release; `file` is a plain name inside the release."""

    precision: str
    """`fp32` or `int8`."""
    file: str
    """Its name inside the release."""
    sha256: str
    """Its digest."""
    bytes: int
    """Its size."""

    def __post_init__(self) -> None:
        check_file(self.file)
        check_sha256(self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance(Part):
    """How far a detection on a golden sample may lie from the expected one."""

    score: float = 0.05
    """The score of a detection may differ by this much, 0..1."""
    box_px: float = 3.0
    """Each side of a box may differ by this much, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSample(Part):
    """An image, and the detections from the lowest `uncertain` threshold on that a healthy runtime must reproduce."""

    file: str
    """The image's name inside the release."""
    sha256: str
    """Its digest."""
    expected: tuple[Detection, ...]
    """The detections."""
    tolerance: Tolerance = Tolerance()
    """How far the detections may differ."""

    def __post_init__(self) -> None:
        check_file(self.file)
        check_sha256(self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling(Part):
    """Which frames a device sends back. Rates are shares of frames, 0..1; scores 0..1."""

    uncertain_low: float
    """Lowest score of a doubtful detection."""
    uncertain_high: float
    """Highest score of a doubtful detection."""
    nothing_found_rate: float = 0.0
    """Share of the frames without a detection that are sent."""
    control_rate: float = 0.0
    """Share of all frames that are sent."""
    disagreement_rate: float = 0.0
    """Share of frames that the previous release inspects too; a frame is sent where the two verdicts differ."""
    max_per_minute: int = 60
    """Frames a minute at most."""
    max_per_hour: int = 1000
    """Frames an hour at most."""
    max_per_day: int = 10_000
    """Frames a day at most."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.uncertain_low <= self.uncertain_high <= 1.0:
            raise ValueError(
                f"sampling needs 0 <= uncertain_low <= uncertain_high <= 1, got "
                f"{self.uncertain_low}, {self.uncertain_high}"
            )
        for name in ("nothing_found_rate", "control_rate", "disagreement_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} lies in 0..1, but got {getattr(self, name)}")
        for name in ("max_per_minute", "max_per_hour", "max_per_day"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is not negative, but got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Part):
    """Who let this model go to the line."""

    by: str
    """The account of MLflow."""
    at: datetime
    """When."""
    model_sha256: str
    """The digest of the model that was approved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probation(Part):
    """What a release asks of its probation on a device, beside the least time. The default asks nothing."""

    min_frames: int = 0
    """Frames that it must inspect before it is kept, and that a comparison with the release before needs; 0: none."""
    patience_s: float = 86_400.0
    """Seconds after which it is kept without them; the device then says so."""
    max_share_change: float = 1.0
    """By how much its share of fail, or of uncertain, may differ from that of the release before, 0..1."""
    max_latency_ratio: float = 1000.0
    """How many times as long as the release before it may take for a frame (95th percentile)."""

    def __post_init__(self) -> None:
        if self.min_frames < 0 or self.patience_s < 0 or not 0.0 <= self.max_share_change <= 1.0:
            raise ValueError(
                "a probation needs min_frames and patience_s from 0 on and max_share_change in 0..1, but got "
                f"{self.min_frames}, {self.patience_s}, {self.max_share_change}"
            )
        if self.max_latency_ratio < 1.0:
            raise ValueError(f"max_latency_ratio is 1 or more, but got {self.max_latency_ratio}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec(Part):
    """The static input of the models; see `Preprocess`."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    pad_value: int = 114
    """The grey that fills the rest, 0 to 255."""
    interpolation: str = "linear"
    """How the image is resized."""
    colour_order: str = "rgb"
    """The order of the channels."""
    shrink: int = field(default=1, metadata=LEFT_OUT)
    """A picture is decoded to sides of this part of its own: 1, 2, 4 or 8; left out where it is decoded in full."""
    tiles: Tiles | None = field(default=None, metadata=LEFT_OUT)
    """How a picture is cut into inputs; left out where the whole picture is one."""

    def __post_init__(self) -> None:
        self.to_preprocess()

    def to_preprocess(self) -> Preprocess:
        """The same as the value that `letterbox` takes."""
        interpolation: Interpolation = self.interpolation  # type: ignore[assignment]  # checked at birth
        colour_order: ColourOrder = self.colour_order  # type: ignore[assignment]  # checked at birth
        return Preprocess(self.width, self.height, self.pad_value, interpolation, colour_order, self.shrink, self.tiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Document):
    """`candidate.json`: all that a device needs to inspect with a model that nobody has approved yet.

    A device lets a candidate judge beside its release, and has no way to run it: a release has an `approval`.
    """

    use_case: str
    """The product."""
    version: int
    """The model's version in MLflow."""
    models: tuple[ModelFile, ...]
    """The same network in one or several precisions."""
    preprocess: InputSpec
    """The models' input."""
    classes: tuple[str, ...]
    """In the models' order."""
    thresholds: Mapping[str, ClassThreshold]
    """For each class."""
    nms: Nms
    """How overlapping boxes are suppressed."""
    sampling: Sampling
    """Which frames a device sends back."""
    latency_budget_ms: float
    """The longest time for one frame, in milliseconds, that a device accepts."""
    probation_s: float
    """Seconds that it must run well before it is kept."""
    golden: tuple[GoldenSample, ...]
    """What a healthy runtime must reproduce."""
    min_agent_version: str
    """The oldest version of the agent that takes this release."""
    dataset_digest: str
    """What the model was trained on."""
    training_run: str
    """The run in MLflow."""
    evaluation_digest: str
    """The evaluation report."""
    probation: Probation = Probation()
    """What its probation asks, beside `probation_s`."""
    picture_limits: PictureLimits | None = None
    """What a picture must have to say something, by the training split. Without them, a device only knows a picture of
    one grey."""
    drift: DriftReference | None = field(default=None, metadata=LEFT_OUT)
    """What it learned from, to compare the line with; left out in releases that do not say it."""
    acceptance: Acceptance | None = field(default=None, metadata=LEFT_OUT)
    """What fails a part; left out where each defect does."""
    output: str = field(default=BOXES, metadata=LEFT_OUT)
    """What the models answer: `boxes` of the classes, or an `anomaly-map`, whose one class is `anomaly`; left out for
    boxes."""
    score_tables: Mapping[str, ScoreTable] | None = field(default=None, metadata=LEFT_OUT)
    """What calibrates the models' scores, by class. Thresholds, sampling and golden samples are of calibrated scores.
    Left out where the scores are the models' own."""

    def __post_init__(self) -> None:
        check_name("use case", self.use_case)
        check_form(self.output, self.classes)
        if not self.models or not self.classes:
            raise ValueError("a release needs at least one model and one class")
        missing = [name for name in self.classes if name not in self.thresholds]
        if missing:
            raise ValueError(f"a release needs a threshold for each class, missing {missing}")
        if self.acceptance is not None:
            unknown = {name for rule in self.acceptance.rules for name in rule.classes} - set(self.classes)
            if unknown:
                raise ValueError(f"acceptance rules are about classes of the release, but got {sorted(unknown)}")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes; the name of the release."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def approved(self, approval: Approval) -> Release:
        """The release that this candidate becomes when somebody approves it."""
        return Release(**{field.name: getattr(self, field.name) for field in fields(self)}, approval=approval)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Candidate):
    """`release.json`: all that a device needs to inspect, where it comes from, and who approved it."""

    approval: Approval
    """Who approved it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave(Part):
    """Some devices of a group, by name or by percent (0..100), and the release that they should run."""

    release_digest: str
    """The release."""
    devices: tuple[str, ...] | None = None
    """By name."""
    percent: float | None = None
    """Or by share."""

    def __post_init__(self) -> None:
        check_sha256(self.release_digest)
        if (self.devices is None) == (self.percent is None):
            raise ValueError("a wave names either devices or a percent")
        if self.percent is not None and not 0 <= self.percent <= 100:
            raise ValueError(f"percent lies in 0..100, but got {self.percent}")

    def includes(self, device: str) -> bool:
        """Whether the wave includes this device. By percent: where sha256(device) mod 100 is below `percent`."""
        if self.devices is not None:
            return device in self.devices
        assert self.percent is not None
        return int(hashlib.sha256(device.encode()).hexdigest(), 16) % 100 < self.percent


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowOrder(Part):
    """A candidate that judges beside the running release on some devices, and decides nothing."""

    release_digest: str
    """The candidate; its files lie below `shadow/` and not below `releases/`, so that no device can run it."""
    devices: tuple[str, ...]
    """On which devices, by name; a device that is not named ignores the order."""
    share: float = 1.0
    """The share of frames that the candidate judges too, 0..1, drawn by the frame's sha256."""
    cpu_share: float = 0.5
    """The most time of the candidate's thread, as a share of one processor core, above 0 and up to 1."""

    def __post_init__(self) -> None:
        check_sha256(self.release_digest)
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"the share of frames for a candidate lies in 0..1, but got {self.share}")
        if not 0.0 < self.cpu_share <= 1.0:
            raise ValueError(f"cpu_share is above 0 and at most 1, but got {self.cpu_share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOrder(Part):
    """Which release of the agent's own software the devices of a group should run."""

    waves: tuple[Wave, ...]
    """The first wave that includes a device decides for it; `release_digest` names a release of the agent. A device
    that no wave includes keeps the software that it has."""
    since: int
    """The sequence under which this was ordered: a device tries the software once more where it refused it before."""
    probation_s: float = 120.0
    """How long new software must run well before it is kept."""
    rollout: SoftwarePlan | None = field(default=None, metadata=LEFT_OUT)
    """How the software reaches the group stage by stage; left out where a person ordered it for devices by hand.
    Devices read `waves` alone."""

    def __post_init__(self) -> None:
        if not self.waves:
            raise ValueError("an order for the agent's software needs at least one wave")
        if self.probation_s < 0:
            raise ValueError(f"probation_s is not negative, but got {self.probation_s}")

    def release_for(self, device: str) -> str | None:
        """The release of the agent for a device; None where no wave includes it."""
        return next((wave.release_digest for wave in self.waves if wave.includes(device)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState(Document):
    """`desired/<use case>/<group>.json`: what the devices of a group that inspect a product should run.

    A higher sequence replaces a lower one.
    """

    sequence: int
    """Counts up with each change."""
    use_case: str
    """The product."""
    waves: tuple[Wave, ...]
    """The first wave that includes a device decides for it."""
    probation_s: float
    """How long a new release must run well."""
    report_timeout_s: float = 3600.0
    """A device that is silent for longer is late."""
    again: int | None = None
    """The sequence under which the release was ordered last: a device tries it once more where it refused it before
    that. Null in a document that does not say it; then each sequence is an order."""
    shadow: ShadowOrder | None = None
    """A candidate that judges beside the running release; null for none."""
    rollout: RolloutPlan | None = None
    """How the release reaches the group stage by stage; null where all devices were asked at once. Devices read `waves`
    alone."""
    agent: AgentOrder | None = field(default=None, metadata=LEFT_OUT)
    """Which software of the agent the group should run; left out where none was ordered."""

    @property
    def ordered(self) -> str | None:
        """The release that the whole group should run in the end; None where that is none."""
        if self.rollout is not None:
            return self.rollout.wanted
        return self.waves[-1].release_digest if self.waves else None

    @property
    def asked_since(self) -> int:
        """The sequence under which the release was ordered last."""
        return self.sequence if self.again is None else self.again

    def is_late(self, reported_at: datetime, now: datetime) -> bool:
        """Whether a device whose last report is of `reported_at` has been silent for longer than it may be."""
        return (now - reported_at).total_seconds() > self.report_timeout_s

    def release_for(self, device: str) -> str | None:
        """The release of the first wave that includes the device; None where none does."""
        for wave in self.waves:
            if wave.includes(device):
                return wave.release_digest
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported(Document):
    """`kizu-fleet/<device>/reported.json`: what a device runs, and why not something else."""

    device: str
    """The device."""
    group: str
    """Its group."""
    reported_at: datetime
    """When."""
    state: str
    """What it is doing."""
    use_case: str | None = None
    """What it inspects; null in a report that does not say it."""
    site: str | None = None
    """Where it stands; null in a report that does not say it."""
    running_release: str | None = None
    """What it runs."""
    pending_release: str | None = None
    """What it is about to run."""
    reason: str = ""
    """Why it does not run what it should."""
    sequence_seen: int = 0
    """The sequence of the newest desired state that it accepted."""
    uptime_s: float = 0.0
    """Seconds since the agent's start."""
    outbox_depth: int = 0
    """How many items wait in the outbox."""
    outbox_dropped: int = 0
    """How many items the outbox has dropped."""
    versions: Mapping[str, str] | None = None
    """Versions of the agent and of the packages that its answers depend on, by name."""
    frames: int | None = None
    """Frames inspected since the device was set up; null in a report that does not say it."""
    rejected: int | None = None
    """Frames set aside because they could not be inspected; null in a report that does not say it."""
    problem: str | None = None
    """Why no frame is inspected at present; empty when all is well, null in a report that does not say it."""
    damaged_files: int | None = None
    """State files that were damaged and set aside; null in a report that does not say it."""
    notices: tuple[str, ...] | None = None
    """What a person should know though the device inspects, such as a clock that is behind; null in a report that does
    not say it."""
    failures: Mapping[str, FailedRelease] | None = None
    """The releases that it refused, by digest, the latest 20; null in a report that does not say it."""
    pinned_release: str | None = None
    """The release that the operator pinned; empty for none, null in a report that does not say it."""
    tallies: tuple[LineTally, ...] | None = None
    """What its latest releases decided, at most three, newest last; null in a report that does not say it."""
    verdicts: Mapping[str, int] | None = None
    """Results by verdict since the device was set up; null in a report that does not say it."""
    cameras: Mapping[str, CameraState] | None = None
    """Its cameras, by name; null in a report that does not say it."""
    shadow: ShadowTally | None = None
    """The candidate that judges beside the running release; null for none."""
    agent: AgentState | None = field(default=None, metadata=LEFT_OUT)
    """Which software of the agent runs, and where from; left out in a report that does not say it."""

    def counts_for(self, use_case: str, group: str) -> bool:
        """Whether the device belongs to a group and inspects a product.

        A report that names no product, as older agents write it, counts for each product of its group.
        """
        return self.group == group and self.use_case in (None, use_case)


def check_file(name: str) -> str:
    """Return a plain file name without a folder; raises ValueError for any other text: a release names no paths."""
    if not _FILE.fullmatch(name):
        raise ValueError(f"expected a plain file name, but got {name[:80]!r}")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage(Part):
    """An image with what people verified on it. width, height: pixels after EXIF orientation."""

    sha256: str
    """The image."""
    uri: str
    """The address of the image."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    boxes: tuple[LabelledRegion, ...] = ()
    """The boxes on it."""
    group: str = ""
    """Its part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRegion(Part):
    """One labelled box on the wire: class name, then pixels of the image."""

    class_name: str
    """What it is."""
    x: float
    """Left side."""
    y: float
    """Upper side."""
    width: float
    """Of the box."""
    height: float
    """Of the box."""

    def __post_init__(self) -> None:
        self.to_box()

    def to_box(self) -> Box:
        """The same as a checked value."""
        return Box(self.x, self.y, self.width, self.height)
