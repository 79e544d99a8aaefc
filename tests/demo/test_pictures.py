"""The pictures that the demo shows while it runs."""

from __future__ import annotations

from datetime import UTC, datetime

import cv2
import numpy as np

from components.generated_parts.photographs import LineGenerator
from components.stores.labels.store import LabelEvent, LabelStatus
from demo.pictures import draw_labels
from inspection.image import sha256_of

RED = (46, 87, 228)  # BGR


def events(photographs):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        LabelEvent(
            event_id=f"{number}", use_case="metal-tag", image_uri=f"s3://raw/{number}", sha256=sha256_of(p.jpeg),
            width=450, height=300, boxes=p.boxes, status=LabelStatus.APPROVED, at=at, group=p.part_id, source="people",
        )
        for number, p in enumerate(photographs)
    ]  # fmt: skip


def test_the_picture_of_labels_shows_sixteen_photographs_those_with_boxes_first(tmp_path):
    """Approved boxes are drawn in red, also where most photographs have none."""
    line = LineGenerator(seed=3, defect_rate=0.3, photographs_per_part=1)
    photographs = list(line.photographs(range(20)))
    files = {sha256_of(p.jpeg): p.jpeg for p in photographs}
    marked = sum(p.defective for p in photographs)
    assert 0 < marked < 16
    path = tmp_path / "labels.png"
    assert draw_labels(path, events(photographs), lambda uri, sha256: files[sha256])
    picture = cv2.imread(str(path))
    assert picture.shape == (4 * 222, 4 * 300, 3)
    bars = [tuple(picture[222 * row + 201, 300 * column + 2].tolist()) for row in range(4) for column in range(4)]
    assert [bar == RED for bar in bars] == [True] * marked + [False] * (16 - marked)
    inside = picture[:200, :300].astype(int)
    assert (np.abs(inside - RED).sum(axis=2) < 90).any(), "the first photograph has a red box"


def test_without_a_label_there_is_no_picture(tmp_path):
    """Nothing is written where people have approved nothing."""
    path = tmp_path / "labels.png"
    assert not draw_labels(path, [], lambda uri, sha256: b"")
    assert not path.exists()
