"""Makes the documents of one inspected frame: its result for the line, and its Capture for the labelers."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from edge_agent.inference import LoadedRelease
from edge_agent.outbox import ImageToSend
from edge_agent.result import Result
from edge_agent.sources.port import Frame, readable_name
from inspection import Capture, Inspection, Reason, image_format, raw_image_key
from inspection.acceptance import severity_of
from inspection.image import EXTENSIONS


def result_of(
    frame: Frame,
    sha256: str,
    inspection: Inspection,
    active: LoadedRelease,
    *,
    device: str,
    camera: str,
    infer_ms: float,
) -> Result:
    """The result of a frame that was inspected just now.

    sha256: of the frame's bytes. infer_ms: milliseconds from decoded image to verdict.
    """
    thresholds = active.release.thresholds
    return Result(
        capture_id=capture_id(device, camera, frame, sha256),
        sha256=sha256,
        captured_at=frame.captured_at,
        decided_at=datetime.now(UTC),
        device=device,
        camera=camera,
        part_id=frame.part_id,
        trigger_id=frame.asked.trigger.id if frame.asked is not None else None,
        original_name=readable_name(frame.name),
        release_digest=active.digest,
        model_sha256=active.model.sha256,
        detections=tuple(
            found for found in inspection.detections if found.score >= thresholds[found.class_name].uncertain
        ),
        verdict=inspection.verdict,
        reason=inspection.unmeasured if inspection.problem is None else str(inspection.problem),
        infer_ms=round(infer_ms, 3),
        severity=severity_of(inspection.rules),
        rules=inspection.rules,
    )


def image_to_send(
    site: str, frame: Frame, sha256: str, result: Result, inspection: Inspection, reason: Reason
) -> ImageToSend:
    """A frame with its Capture, to be sent to the labelers for `reason`. sha256: of the frame's bytes."""
    capture = Capture(
        capture_id=result.capture_id,
        sha256=sha256,
        device=result.device,
        camera=result.camera,
        captured_at=result.captured_at,
        reason=reason,
        part_id=result.part_id,
        original_name=result.original_name,
        release_digest=result.release_digest,
        detections=inspection.detections,
        verdict=result.verdict,
    )
    key = raw_image_key(site, result.device, result.captured_at, sha256, EXTENSIONS[image_format(frame.data)])
    return ImageToSend(capture, key, frame.data)


def capture_id(device: str, camera: str, frame: Frame, sha256: str) -> str:
    """An id of 32 hexadecimal digits, the same however often the frame is inspected."""
    return name_of_capture(device, camera, frame.source_key, sha256)


def name_of_capture(*parts: str) -> str:
    """An id of 32 hexadecimal digits that depends on these texts."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]
