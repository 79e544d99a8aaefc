"""What passes between teams: Captures, releases, desired states and reports. Plain values; see `codec` for the form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from inspection.codec import Document, Part
from inspection.decode import Nms
from inspection.geometry import Box, Detection
from inspection.paths import check_name
from inspection.preprocess import ColourOrder, Interpolation, Preprocess
from inspection.verdict import ClassThreshold, Verdict

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_sha256(value: str) -> str:
    """A lower-case hexadecimal SHA-256, else ValueError."""
    if not _SHA256.fullmatch(value):
        raise ValueError(f"expected a sha256 of 64 hexadecimal digits, but got {value[:80]!r}")
    return value


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
class Capture(Document):
    """One reason for which one image was sent; immutable. Times are UTC."""

    capture_id: str
    sha256: str
    device: str
    camera: str
    captured_at: datetime
    reason: Reason
    sent_at: datetime | None = None
    part_id: str | None = None
    original_name: str | None = None
    release_digest: str | None = None
    detections: tuple[Detection, ...] = ()
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        check_sha256(self.sha256)
        check_name("device", self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile(Part):
    """One model of a release; `file` is a plain name inside the release."""

    precision: str
    file: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        check_file(self.file)
        check_sha256(self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance(Part):
    """How far a golden sample's answer may lie from the expected one: score 0..1, sides in pixels."""

    score: float = 0.05
    box_px: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSample(Part):
    """An image and the detections that a healthy runtime must reproduce, from the lowest `uncertain` threshold on."""

    file: str
    sha256: str
    expected: tuple[Detection, ...]
    tolerance: Tolerance = Tolerance()

    def __post_init__(self) -> None:
        check_file(self.file)
        check_sha256(self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling(Part):
    """Which frames a device sends back. Rates are shares of frames, 0..1; scores 0..1."""

    uncertain_low: float
    uncertain_high: float
    nothing_found_rate: float = 0.0
    control_rate: float = 0.0
    disagreement_rate: float = 0.0
    """Share of frames that the release before judges too; where the two verdicts differ the frame is sent."""
    max_per_minute: int = 60
    max_per_hour: int = 1000
    max_per_day: int = 10_000

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
    at: datetime
    model_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec(Part):
    """The static input of the models; see `Preprocess`."""

    width: int
    height: int
    pad_value: int = 114
    interpolation: str = "linear"
    colour_order: str = "rgb"

    def __post_init__(self) -> None:
        self.to_preprocess()

    def to_preprocess(self) -> Preprocess:
        """The same as the value that `letterbox` takes."""
        interpolation: Interpolation = self.interpolation  # type: ignore[assignment]  # checked at birth
        colour_order: ColourOrder = self.colour_order  # type: ignore[assignment]  # checked at birth
        return Preprocess(self.width, self.height, self.pad_value, interpolation, colour_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Document):
    """`release.json`: all that a device needs to inspect, and where it comes from."""

    use_case: str
    version: int
    models: tuple[ModelFile, ...]
    preprocess: InputSpec
    classes: tuple[str, ...]
    thresholds: Mapping[str, ClassThreshold]
    nms: Nms
    sampling: Sampling
    latency_budget_ms: float
    probation_s: float
    golden: tuple[GoldenSample, ...]
    min_agent_version: str
    dataset_digest: str
    training_run: str
    evaluation_digest: str
    approval: Approval

    def __post_init__(self) -> None:
        check_name("use case", self.use_case)
        if not self.models or not self.classes:
            raise ValueError("a release needs at least one model and one class")
        missing = [name for name in self.classes if name not in self.thresholds]
        if missing:
            raise ValueError(f"a release needs a threshold for each class, missing {missing}")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes; the name of the release."""
        return hashlib.sha256(self.to_json()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave(Part):
    """Some devices of a group, by name or by share (0..100), and the release they should run."""

    release_digest: str
    devices: tuple[str, ...] | None = None
    percent: float | None = None

    def __post_init__(self) -> None:
        check_sha256(self.release_digest)
        if (self.devices is None) == (self.percent is None):
            raise ValueError("a wave names either devices or a percent")
        if self.percent is not None and not 0 <= self.percent <= 100:
            raise ValueError(f"percent lies in 0..100, but got {self.percent}")

    def includes(self, device: str) -> bool:
        """Whether the wave is meant for this device; a share is a fixed one: sha256(device) mod 100."""
        if self.devices is not None:
            return device in self.devices
        assert self.percent is not None
        return int(hashlib.sha256(device.encode()).hexdigest(), 16) % 100 < self.percent


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState(Document):
    """`desired/<group>.json`: what a group of devices should run. A higher sequence replaces a lower one."""

    sequence: int
    use_case: str
    waves: tuple[Wave, ...]
    probation_s: float
    report_timeout_s: float = 3600.0

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
    group: str
    reported_at: datetime
    state: str
    running_release: str | None = None
    pending_release: str | None = None
    reason: str = ""
    sequence_seen: int = 0
    uptime_s: float = 0.0
    outbox_depth: int = 0
    outbox_dropped: int = 0
    versions: Mapping[str, str] | None = None


def check_file(name: str) -> str:
    """A plain file name, without a folder, else ValueError: a release never names a path."""
    if not _FILE.fullmatch(name):
        raise ValueError(f"expected a plain file name, but got {name[:80]!r}")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage(Part):
    """An image with what people verified on it. width, height: pixels after EXIF orientation."""

    sha256: str
    uri: str
    width: int
    height: int
    boxes: tuple[LabelledRegion, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRegion(Part):
    """One labelled box on the wire: class name, then pixels of the image."""

    class_name: str
    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        self.to_box()

    def to_box(self) -> Box:
        """The same as a checked value."""
        return Box(self.x, self.y, self.width, self.height)
