"""The messages to the line: one result for each frame, and whether the device is online."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from inspection import Detection, Verdict
from inspection.codec import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Document):
    """The result of one frame. After an outage it may arrive twice; both then have the same `capture_id`.

    Times are UTC. detections: from each class's `uncertain` threshold on, in pixels of the image, highest score first.
    infer_ms: milliseconds from decoded image to verdict.
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
    """The retained status of a device. The broker publishes `offline` where the connection breaks off."""

    device: str
    state: str
    release_digest: str | None = None
