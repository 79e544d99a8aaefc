"""Results and images for tests of the outbox, by number."""

from __future__ import annotations

from datetime import UTC, datetime

from edge_agent.config import OutboxLimits
from edge_agent.outbox import ImageToSend
from edge_agent.result import Result
from inspection import Capture, Reason, Verdict, raw_image_key, sha256_of
from tests.edge_agent.models import picture

LIMITS = OutboxLimits(min_free_bytes=0)


WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def result(number: int, verdict: Verdict = Verdict.PASS) -> Result:
    return Result(
        capture_id=f"{number:032x}", sha256="0" * 64, captured_at=WHEN, decided_at=WHEN, device="dev1", camera="c",
        release_digest="r", model_sha256="m", verdict=verdict, infer_ms=1.0,
    )  # fmt: skip


def image(number: int, reason: Reason = Reason.UNCERTAIN, verdict: Verdict = Verdict.PASS, seed: int | None = None):
    data = picture(1, seed=number if seed is None else seed)
    sha256 = sha256_of(data)
    capture = Capture(
        capture_id=f"{number:032x}", sha256=sha256, device="dev1", camera="c", captured_at=WHEN, reason=reason,
        verdict=verdict,
    )  # fmt: skip
    return ImageToSend(capture, raw_image_key("plant1", "dev1", WHEN, sha256, "png"), data)


def put(outbox, number, **kind):
    return outbox.record(f"f{number}", result(number), image(number, **kind), publish=True)
