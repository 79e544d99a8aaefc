"""Label events for tests that need rows of the label store."""

from datetime import UTC, datetime, timedelta

from components.stores.labels.store import LabelEvent, LabelStatus
from inspection.geometry import Box, LabelledBox

NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
SCRATCH = (LabelledBox("傷", Box(1.25, 2.5, 3.0, 4.0)),)


def event(use_case, name="e", *, minutes=0, status=LabelStatus.APPROVED, sha256="ab" * 32, **more):
    """An event of a use case. minutes: after noon; name: makes its id unique within the use case."""
    return LabelEvent(
        event_id=f"{use_case}-{name}", use_case=use_case, image_uri="s3://kizu-raw/x.jpg", sha256=sha256,
        width=64, height=48, boxes=more.pop("boxes", SCRATCH), status=status, at=NOON + timedelta(minutes=minutes),
        group="p1", source="test", **more,
    )  # fmt: skip
