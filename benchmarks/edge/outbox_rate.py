"""The rate at which the outbox records frames durably, in frames per second: one durable transaction per frame."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge_agent.config import OutboxLimits
from edge_agent.outbox import ImageToSend, Outbox
from edge_agent.result import Result
from inspection import Box, Capture, Detection, Reason, Verdict, raw_image_key, sha256_of

_FOUND: Final = (Detection("scratch", 0.4, Box(10, 10, 40, 20)), Detection("scratch", 0.2, Box(90, 50, 30, 60)))


def writes_per_second(jpeg: bytes, folder: Path, *, with_image: bool, for_s: float = 4.0) -> float:
    """Frames recorded per second: the result for the line, and with `with_image` a capture and the JPEG, too."""
    shutil.rmtree(folder, ignore_errors=True)
    outbox = Outbox(folder, OutboxLimits(min_free_bytes=0))
    began, number = time.perf_counter(), 0
    try:
        while time.perf_counter() - began < for_s:
            number += 1
            result = _result(number, jpeg)
            image = _image(result, jpeg + number.to_bytes(4)) if with_image else None
            outbox.record(f"frame-{number}", result, image, publish=True)
            outbox.forget(f"frame-{number}")
        return number / (time.perf_counter() - began)
    finally:
        outbox.close()
        shutil.rmtree(folder, ignore_errors=True)


def _result(number: int, jpeg: bytes) -> Result:
    now = datetime.now(UTC)
    return Result(
        capture_id=f"{number:032x}",
        sha256=sha256_of(jpeg),
        captured_at=now,
        decided_at=now,
        device="bench",
        camera="camera",
        release_digest="0" * 64,
        model_sha256="1" * 64,
        detections=_FOUND,
        verdict=Verdict.UNCERTAIN,
        infer_ms=20.0,
    )


def _image(result: Result, data: bytes) -> ImageToSend:
    sha256 = sha256_of(data)
    capture = Capture(
        capture_id=result.capture_id,
        sha256=sha256,
        device=result.device,
        camera=result.camera,
        captured_at=result.captured_at,
        reason=Reason.UNCERTAIN,
        detections=result.detections,
        verdict=result.verdict,
    )
    return ImageToSend(capture, raw_image_key("bench", result.device, result.captured_at, sha256, "jpg"), data)
