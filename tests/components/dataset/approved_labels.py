"""Approved labels of one product, as they lie in the label store, and its use case."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from components.stores.labels.store import LabelEvent, LabelStatus
from components.use_case import parse_use_case
from inspection.geometry import Box, LabelledBox

USE_CASE = parse_use_case(
    """{"name": "tag", "classes": ["scratch"], "labeling": {"instructions": ""},
    "gates": {"min_map50": 0, "max_escape_rate": 1, "max_overkill_rate": 1},
    "split": {"test": 0.3, "val": 0.2, "min_images": 10, "min_test_parts": 2}}"""
)
SCRATCH = (LabelledBox("scratch", Box(1, 2, 3, 4)),)


def event(number, *, group=None, boxes=SCRATCH, use_case="tag"):
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    return LabelEvent(
        event_id=f"e{number}", use_case=use_case, image_uri=f"s3://kizu-raw/{number}.jpg", sha256=sha256, width=64,
        height=48, boxes=boxes, status=LabelStatus.APPROVED, at=datetime(2025, 4, 1, tzinfo=UTC),
        group=group or f"part{number}", source="test",
    )  # fmt: skip


def labels(count=40, **more):
    return {e.sha256: e for e in (event(number, **more) for number in range(count))}
