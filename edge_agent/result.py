"""The messages to the line: one result for each frame or trigger, and whether the device is online."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from inspection import Detection, Verdict
from inspection.acceptance import RuleOutcome, Severity
from inspection.codec import LEFT_OUT, Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Document):
    """The result of one frame, or of a trigger that got no frame. After an outage it may arrive twice; both then have
    the same `capture_id`.

    Times are UTC. detections: from each class's `uncertain` threshold on, in pixels of the image, highest score first.
    infer_ms: milliseconds from decoded image to verdict. A result of version 1 always has a frame and no reason.
    """

    newest: ClassVar[int] = 2
    schema_version: int = 2
    capture_id: str
    """Names the frame; a message that comes twice has the same one."""
    sha256: str | None
    """The image; null where there is none."""
    captured_at: datetime
    """When the frame was taken; without a frame, when the trigger came."""
    decided_at: datetime
    """When the verdict was there."""
    device: str
    """Which device."""
    camera: str
    """Which camera of the device."""
    part_id: str | None = None
    """The part, where the camera or the PLC said so."""
    trigger_id: str | None = None
    """The `id` of the trigger that asked for the frame, where the sender gave one."""
    original_name: str | None = None
    """The file's name at the camera."""
    release_digest: str | None
    """The release that judged it; null where none did."""
    model_sha256: str | None
    """The model that judged it; null where none did."""
    detections: tuple[Detection, ...] = ()
    verdict: Verdict
    """What was decided."""
    reason: str | None = None
    """Why the part was not inspected, or why the picture itself, or a rule that cannot be measured in it, makes the
    verdict `uncertain`; else null."""
    infer_ms: float | None
    """Null where nothing was inspected."""
    severity: Severity | None = field(default=None, metadata=LEFT_OUT)
    """The gravest severity of the broken acceptance rules; left out where none is broken."""
    rules: tuple[RuleOutcome, ...] = field(default=(), metadata=LEFT_OUT)
    """The acceptance rules that were not kept, the gravest broken one first: it decided. Left out where all were kept,
    and where the release has none."""

    def __post_init__(self) -> None:
        judged = (self.sha256, self.release_digest, self.model_sha256, self.infer_ms)
        if self.verdict is Verdict.NOT_INSPECTED:
            if not self.reason:
                raise ValueError("a result that is not-inspected needs a reason")
        elif None in judged:
            raise ValueError(f"the verdict {self.verdict} needs an image, a release, a model and its time")
        elif self.reason and self.verdict is not Verdict.UNCERTAIN:
            raise ValueError(f"the verdict {self.verdict} has no reason, but got {self.reason!r}")
        if self.severity in (Severity.REJECT, Severity.REWORK) and self.verdict is not Verdict.FAIL:
            raise ValueError(f"a broken rule of severity {self.severity} fails the part, but got {self.verdict}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence(Document):
    """The retained status of a device. The broker publishes `offline` where the connection breaks off."""

    device: str
    """Which device."""
    state: str
    """`online` or `offline`."""
    release_digest: str | None = None
    """The release that it runs."""
