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
    """Names the frame; a message that comes twice has the same one."""
    sha256: str
    """The image."""
    captured_at: datetime
    """When the frame was taken."""
    decided_at: datetime
    """When the verdict was there."""
    device: str
    """Which device."""
    camera: str
    """Which camera of the device."""
    part_id: str | None = None
    """The part, where the camera or the PLC said so."""
    original_name: str | None = None
    """The file's name at the camera."""
    release_digest: str
    """The release that judged it."""
    model_sha256: str
    """The model that judged it."""
    detections: tuple[Detection, ...] = ()
    verdict: Verdict
    """What was decided."""
    infer_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence(Document):
    """The retained status of a device. The broker publishes `offline` where the connection breaks off."""

    device: str
    """Which device."""
    state: str
    """`online` or `offline`."""
    release_digest: str | None = None
    """The release that it runs."""
