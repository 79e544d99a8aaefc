"""A part that is corrected after the approval: the one that was told last holds, by an event."""

from __future__ import annotations

from datetime import UTC, datetime

from components.stores.labels.parts import correct_parts, with_parts
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


def event(number, group="17", use_case="tags", status="approved"):
    return LabelEvent(
        event_id=f"{use_case}-{number}", use_case=use_case, image_uri="s3://kizu-raw/x", sha256=f"{number:064x}",
        width=10, height=10, boxes=(), status=LabelStatus(status), at=NOON, group=group, source="coco",
    )  # fmt: skip


def test_the_part_that_was_told_last_holds_for_every_use_case(tmp_path):
    """A correction and its correction each leave an event; telling it again, or of no label, leaves none."""
    labels = LabelStore(str(tmp_path / "labels"), {})
    assert correct_parts(labels, {f"{1:064x}": "18"}) == 0
    labels.append([event(1), event(2), event(3, status="labelled"), event(1, use_case="discs")])
    parts = {f"{number:064x}": "18" for number in (1, 3, 9)}
    assert [correct_parts(labels, parts), correct_parts(labels, parts)] == [2, 0]
    for use_case in ("tags", "discs"):
        assert labels.latest_approved(use_case)[f"{1:064x}"].group == "18"
    assert labels.latest_approved("tags")[f"{2:064x}"].group == "17"
    assert correct_parts(labels, {f"{1:064x}": "17"}) == 2
    assert labels.latest_approved("tags")[f"{1:064x}"].group == "17"
    assert [e.group for e in labels.events(use_case="discs")] == ["17", "18", "17"]


def test_a_label_with_the_right_part_or_an_untold_one_makes_no_event():
    """Only what differs is written."""
    assert with_parts([event(1), event(2)], {f"{1:064x}": "17"}) == []
