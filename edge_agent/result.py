"""What the line is told: one result a frame, and whether the device is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from inspection import Detection, Verdict
from inspection.codec import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Document):
    """One inspected frame. `capture_id` names the frame: a message that comes twice after an outage has the same one.

    Times are UTC. detections: from each class's `uncertain` threshold on, pixels of the image, highest score first.
    infer_ms: from decoded image to verdict.
    """

    capture_id: str
    sha256: str
    captured_at: datetime
    decided_at: datetime
    device: str
    camera: str
    part_id: str | None = None
    original_name: str | None = None
    release_digest: str
    model_sha256: str
    detections: tuple[Detection, ...] = ()
    verdict: Verdict
    infer_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence(Document):
    """The retained status of a device; the broker itself says `offline` when the device falls silent."""

    device: str
    state: str
    release_digest: str | None = None
