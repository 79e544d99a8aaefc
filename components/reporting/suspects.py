"""Finds suspected label errors: a model or a near-duplicate contradicts an approved label. Pure rules."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.stores.labels.store import LabelEvent
from inspection.geometry import Box, Detection, LabelledBox, iou
from inspection.verdict import ClassThreshold

_MEETS_IOU: Final = 0.3
"""A box of the model and a label with at least this IoU mark the same place."""
_TOUCHES_IOU: Final = 0.1
"""A box of the model with at least this IoU touches a label."""
_NOTHING: Final = 0.2
"""If no box at a label reaches this share of the class's `uncertain` threshold, the model sees nothing there."""
_MAPPED_IOU: Final = 0.2
"""Boxes of two aligned photographs with at least this IoU mark the same place. Alignment is not exact, so it is low."""
_MOST: Final = 0.6
"""The share of a box from which another box covers most of it."""


class Doubt(StrEnum):
    """The kind of a suspicion."""

    MISSING_BOX = "missing-box"
    NOTHING_THERE = "nothing-there"
    OTHER_CLASS = "other-class"
    DUPLICATES_DIFFER = "duplicates-differ"


@dataclass(frozen=True, slots=True)
class Shot:
    """One image of a suspicion: its approved label, and the model's boxes that a labeler would see."""

    event: LabelEvent
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A suspicion. certainty, 0..1: the model's score for it, or the similarity of the two images.

    shots: the one image, or the two images whose labels differ.
    """

    doubt: Doubt
    certainty: float
    text: str
    shots: tuple[Shot, ...]

    @property
    def order(self) -> tuple[float, str]:
        """The sort key: the most certain first. The order is the same on every run."""
        return -self.certainty, self.shots[0].event.sha256


def doubts(
    event: LabelEvent, detections: Sequence[Detection], thresholds: Mapping[str, ClassThreshold]
) -> list[Suspect]:
    """Compare a label with the model's detections. Returns at most one suspicion of each kind.

    detections: all detections of the model, also those with a low score. A detection counts against a label only if
    its score is at least halfway between the `fail` threshold of its class and 1.
    """
    found: dict[Doubt, Suspect] = {}
    shown = tuple(d for d in detections if d.score >= thresholds[d.class_name].uncertain)

    def add(doubt: Doubt, certainty: float, text: str) -> None:
        if doubt not in found or certainty > found[doubt].certainty:
            found[doubt] = Suspect(doubt, certainty, text, (Shot(event, shown),))

    for detection in detections:
        if detection.score < (thresholds[detection.class_name].fail + 1) / 2:
            continue
        met = [label for label in event.boxes if iou(label.box, detection.box) >= _MEETS_IOU]
        said = f"{detection.class_name}, score {detection.score:.2f}"
        if not met:
            # A box inside a larger label is only drawn differently: the label marks the defect already.
            if not any(_covered(detection.box, label.box) for label in event.boxes):
                add(Doubt.MISSING_BOX, detection.score, f"the model sees a {said}, and no box is there")
        elif all(label.class_name != detection.class_name for label in met):
            add(Doubt.OTHER_CLASS, detection.score, f"the model sees a {said}, but the box says {met[0].class_name}")
    for label in event.boxes:
        if label.class_name not in thresholds:  # the model was not trained on this class
            continue
        best = max((d.score for d in detections if _touches(d.box, label.box)), default=0.0)
        if best < _NOTHING * thresholds[label.class_name].uncertain:
            add(
                Doubt.NOTHING_THERE,
                1.0 - best,
                f"the label has a {label.class_name}, and the model sees nothing there (at most {best:.2f})",
            )
    return list(found.values())


def duplicates_doubt(first: Shot, second: Shot, transform: NDArray[np.float64], similarity: float) -> Suspect | None:
    """Compare the labels of two near-duplicate photographs. Returns None if the labels agree.

    transform: (3, 3), maps pixels of the first to pixels of the second. A box counts only if the other photograph shows
    its place.
    """
    mapped = [
        (label, box)
        for label in first.event.boxes
        if (box := _mapped(label.box, transform, second.event.width, second.event.height)) is not None
    ]
    whole = Box(0, 0, first.event.width, first.event.height)
    seen = _mapped(whole, transform, second.event.width, second.event.height, at_least=0.0)
    theirs = [label for label in second.event.boxes if seen is not None and _covered(label.box, seen)]
    only_first = [label for label, box in mapped if not any(_same(label, box, other) for other in theirs)]
    only_second = [other for other in theirs if not any(_same(label, box, other) for label, box in mapped)]
    if not only_first and not only_second:
        return None
    text = f"the two show the same, but {len(only_first)} of the boxes are on the first alone, "
    text += f"{len(only_second)} on the second alone"
    return Suspect(Doubt.DUPLICATES_DIFFER, similarity, text, (first, second))


class Suspects:
    """Counts all suspicions and keeps the most certain `limit` of each kind, so that memory is bounded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Doubt, list[Suspect]] = {doubt: [] for doubt in Doubt}
        self.counts: Counter[Doubt] = Counter()

    def add(self, suspects: Iterable[Suspect]) -> None:
        """Count more suspicions, and keep the most certain."""
        for suspect in suspects:
            self.counts[suspect.doubt] += 1
            kept = [*self._kept[suspect.doubt], suspect]
            self._kept[suspect.doubt] = heapq.nsmallest(self._limit, kept, key=lambda s: s.order)

    def chosen(self) -> list[Suspect]:
        """Return at most `limit` suspicions. It takes the kinds in turn, so that each kind is represented."""
        queues = [list(self._kept[doubt]) for doubt in Doubt]
        chosen: list[Suspect] = []
        while any(queues) and len(chosen) < self._limit:
            chosen += [queue.pop(0) for queue in queues if queue]
        return chosen[: self._limit]


def _covered(box: Box, by: Box) -> bool:
    """Return whether the box `by` covers most of the box."""
    x1, y1 = max(box.x, by.x), max(box.y, by.y)
    x2, y2 = min(box.x + box.width, by.x + by.width), min(box.y + box.height, by.y + by.height)
    return x2 > x1 and y2 > y1 and (x2 - x1) * (y2 - y1) >= _MOST * box.area


def _touches(a: Box, b: Box) -> bool:
    return iou(a, b) >= _TOUCHES_IOU or _covered(a, b) or _covered(b, a)


def _same(label: LabelledBox, box: Box, other: LabelledBox) -> bool:
    return label.class_name == other.class_name and (
        iou(box, other.box) >= _MAPPED_IOU or _covered(box, other.box) or _covered(other.box, box)
    )


def _mapped(
    box: Box, transform: NDArray[np.float64], width: int, height: int, *, at_least: float = _MOST
) -> Box | None:
    """Map a box to the other picture and clip it there.

    Returns None if less than the share `at_least` of the mapped box is in the other picture.
    """
    x1, y1, x2, y2 = box.xyxy
    corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]], np.float64) @ transform.T
    if not np.isfinite(corners).all() or (corners[:, 2] <= 0).any():
        return None
    points = corners[:, :2] / corners[:, 2:]
    low, high = points.min(axis=0), points.max(axis=0)
    if not (high > low).all():
        return None
    whole = Box.from_xyxy(*low, *high)
    inside = whole.clipped(width, height)
    return inside if inside is not None and inside.area >= at_least * whole.area else None
