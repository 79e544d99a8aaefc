"""How far approved labels and a model's boxes agree: rules over boxes, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from inspection.geometry import Detection, LabelledBox, iou

MATCH_IOU: Final = 0.5
"""From this overlap on, a label and a model's box of the same class mean the same defect."""
UNCHANGED_IOU: Final = 0.95
"""From this overlap on, nobody moved the box: Label Studio's percentages round a pixel or so."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Boxes of one image. pairs: (label, detection, their overlap); the rest stands alone."""

    pairs: tuple[tuple[LabelledBox, Detection, float], ...]
    labels: tuple[LabelledBox, ...]
    detections: tuple[Detection, ...]

    @property
    def unchanged(self) -> bool:
        """Whether the label is the model's answer, box for box."""
        return not self.labels and not self.detections and all(o >= UNCHANGED_IOU for _, _, o in self.pairs)


def match(labels: Sequence[LabelledBox], detections: Sequence[Detection], *, min_iou: float = MATCH_IOU) -> Matched:
    """Pair boxes of the same class, the largest overlap first; each at most once."""
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
    """Approved labels beside a model's boxes. prelabelled: whether people began from that model's boxes.

    unchanged: images whose label is the model's answer, box for box. kept: labels that a box of the model meets;
    added: labels without one; removed: boxes of the model that are no label. mean_iou: of the kept, 0..1.
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
        """Of the images, 0..1."""
        return self.unchanged / self.images

    @property
    def changed_share(self) -> float:
        """Of the images, 0..1: how often people changed what the model said."""
        return 1.0 - self.unchanged_share


def agreement(model: str, compared: Iterable[Matched], *, prelabelled: bool) -> Agreement | None:
    """Sum up; None without an image."""
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
