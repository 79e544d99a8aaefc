"""Measures how far approved labels and a model's boxes agree. Pure rules over boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from inspection.geometry import Detection, LabelledBox, iou

MATCH_IOU: Final = 0.5
"""A label and a model's box of the same class with at least this overlap mark the same defect."""
UNCHANGED_IOU: Final = 0.95
"""A box with at least this overlap was not moved: Label Studio stores percentages, which round by about a pixel."""


@dataclass(frozen=True, slots=True)
class Matched:
    """The boxes of one image. pairs: (label, detection, IoU). labels, detections: the boxes without a partner."""

    pairs: tuple[tuple[LabelledBox, Detection, float], ...]
    labels: tuple[LabelledBox, ...]
    detections: tuple[Detection, ...]

    @property
    def unchanged(self) -> bool:
        """Whether every box is in a pair and no box was moved."""
        return not self.labels and not self.detections and all(o >= UNCHANGED_IOU for _, _, o in self.pairs)


def match(labels: Sequence[LabelledBox], detections: Sequence[Detection], *, min_iou: float = MATCH_IOU) -> Matched:
    """Pair labels with detections of the same class, the largest IoU first. Each box is in at most one pair."""
    overlaps = sorted(
        (
            (iou(label.box, detection.box), at, of)
            for at, label in enumerate(labels)
            for of, detection in enumerate(detections)
            if label.class_name == detection.class_name
        ),
        key=lambda item: (-item[0], item[1], item[2]),
    )
    used_labels: set[int] = set()
    used_detections: set[int] = set()
    pairs = []
    for overlap, at, of in overlaps:
        if overlap < min_iou:
            break
        if at not in used_labels and of not in used_detections:
            used_labels.add(at)
            used_detections.add(of)
            pairs.append((labels[at], detections[of], overlap))
    return Matched(
        tuple(pairs),
        tuple(label for at, label in enumerate(labels) if at not in used_labels),
        tuple(detection for of, detection in enumerate(detections) if of not in used_detections),
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far approved labels agree with a model's boxes. prelabelled: whether people began from that model's boxes.

    unchanged: the number of images whose labels equal the model's boxes. kept: labels that are paired with a box of the
    model; added: labels without a box of the model; removed: boxes of the model without a label. mean_iou: the mean IoU
    of the kept labels, 0..1.
    """

    model: str
    prelabelled: bool
    images: int
    unchanged: int
    kept: int
    added: int
    removed: int
    mean_iou: float

    @property
    def unchanged_share(self) -> float:
        """The share of images whose labels equal the model's boxes, 0..1."""
        return self.unchanged / self.images

    @property
    def changed_share(self) -> float:
        """The share of images whose labels differ from the model's boxes, 0..1."""
        return 1.0 - self.unchanged_share


def agreement(model: str, compared: Iterable[Matched], *, prelabelled: bool) -> Agreement | None:
    """Sum up the images; None if there is no image."""
    images = unchanged = kept = added = removed = 0
    overlap = 0.0
    for found in compared:
        images += 1
        unchanged += found.unchanged
        kept += len(found.pairs)
        added += len(found.labels)
        removed += len(found.detections)
        overlap += sum(o for _, _, o in found.pairs)
    if not images:
        return None
    return Agreement(model, prelabelled, images, unchanged, kept, added, removed, overlap / kept if kept else 0.0)
