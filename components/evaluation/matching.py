"""Matching of detections and labels: at the operating threshold, and ranked by score as COCO does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inspection.acceptance import Acceptance, judge
from inspection.geometry import Detection, LabelledBox, iou_matrix
from inspection.part_view import UNKNOWN_VIEW, PartView
from inspection.verdict import ClassThreshold, Verdict

MIN_IOU: Final = 0.5
RECALL_POINTS: Final = np.linspace(0.0, 1.0, 101)
"""The recalls at which COCO reads a precision-recall curve."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One image with its labels and the model's detections from a very low score on, highest score first.

    camera, reasons: the camera, and why the image was captured, where its Captures say so.
    acceptance, view: the acceptance rules, and how the camera sees the part. Without rules, each label is a defect.
    """

    group: str
    width: int
    height: int
    labels: tuple[LabelledBox, ...]
    detections: tuple[Detection, ...]
    camera: str = ""
    reasons: tuple[str, ...] = ()
    acceptance: Acceptance | None = None
    view: PartView = UNKNOWN_VIEW

    @property
    def defects(self) -> tuple[LabelledBox, ...]:
        """The labels that make the part defective: by the acceptance rules, those that break a rule.

        A label that the rules cannot judge in this view is one too: what is not known to be good is not good.
        """
        if self.acceptance is None or not self.labels:
            return self.labels
        as_found = [Detection(label.class_name, 1.0, label.box) for label in self.labels]
        sure = {label.class_name: ClassThreshold(1.0, 1.0) for label in self.labels}
        found = judge(as_found, sure, self.acceptance, self.view)
        if found.verdict is Verdict.UNCERTAIN:
            return self.labels
        accusing = {id(detection) for detection in found.accusing}
        return tuple(label for label, detection in zip(self.labels, as_found, strict=True) if id(detection) in accusing)

    @property
    def is_defective(self) -> bool:
        """Whether the labels make the part defective."""
        return bool(self.defects)

    def judged(self, thresholds: Mapping[str, ClassThreshold]) -> tuple[Verdict, tuple[Detection, ...]]:
        """The verdict on the image, as a device judges it, and the detections that fail it."""
        found = judge(self.detections, thresholds, self.acceptance, self.view)
        return found.verdict, found.accusing


@dataclass(frozen=True, slots=True)
class Matched:
    """One image, matched at the operating threshold.

    found: for each label, whether a detection matches it. hits, false_alarms: the detections at or above the threshold
    that match a label, and those that match none. accusing: the detections for which the part is judged defective; all
    of these where there are no acceptance rules.
    """

    found: tuple[bool, ...]
    hits: tuple[Detection, ...]
    false_alarms: tuple[Detection, ...]
    accusing: tuple[Detection, ...]

    @property
    def said(self) -> tuple[Detection, ...]:
        """All detections at or above the threshold."""
        return (*self.hits, *self.false_alarms)


def matched(image: Scored, thresholds: Mapping[str, ClassThreshold], *, min_iou: float = MIN_IOU) -> Matched:
    """Match detections and labels of one class: each label once, with the best-scored detection that overlaps it."""
    said = [d for d in image.detections if d.score >= thresholds[d.class_name].fail]
    overlap = _overlaps(said, image.labels)
    found = [False] * len(image.labels)
    hits, false_alarms = [], []
    for row, detection in enumerate(said):
        best = _best_free(overlap[row], found, min_iou)
        if best is None:
            false_alarms.append(detection)
        else:
            found[best] = True
            hits.append(detection)
    return Matched(tuple(found), tuple(hits), tuple(false_alarms), image.judged(thresholds)[1])


@dataclass(frozen=True, slots=True)
class Ranked:
    """The detections of one class over a split, by falling score, up to the last hit.

    part: (n,) number of the detection's part. hit: (n,) whether it matches a label. score: (n,). labels: (parts,)
    number of labels of each part.
    """

    part: NDArray[np.int64]
    hit: NDArray[np.bool_]
    score: NDArray[np.float64]
    labels: NDArray[np.int64]


def ranked(images: Sequence[Scored], class_name: str, parts: Mapping[str, int], *, min_iou: float = MIN_IOU) -> Ranked:
    """Match one class as COCO does at one IoU, 0.5. parts: group -> its number, 0..len(parts) - 1.

    Detections after the last hit are left out: recall grows no more, so that average precision does not change.
    """
    rows: list[tuple[float, int, bool]] = []
    labels = np.zeros(len(parts), np.int64)
    for image in images:
        part = parts[image.group]
        own = [label for label in image.labels if label.class_name == class_name]
        labels[part] += len(own)
        said = sorted((d for d in image.detections if d.class_name == class_name), key=lambda d: -d.score)
        overlap = _overlaps(said, own)
        found = [False] * len(own)
        for row, detection in enumerate(said):
            best = _best_free(overlap[row], found, min_iou)
            if best is not None:
                found[best] = True
            rows.append((detection.score, part, best is not None))
    rows.sort(key=lambda row: -row[0])
    last = max((index for index, row in enumerate(rows) if row[2]), default=-1)
    rows = rows[: last + 1]
    return Ranked(
        part=np.array([row[1] for row in rows], np.int64),
        hit=np.array([row[2] for row in rows], np.bool_),
        score=np.array([row[0] for row in rows], np.float64),
        labels=labels,
    )


def precision_at_recall(curve: Ranked, weights: NDArray[np.int64] | None = None) -> NDArray[np.float64] | None:
    """COCO's interpolated precision at `RECALL_POINTS`, (101,) 0..1; its mean is the average precision.

    weights: (parts,) how often each part counts; each once where None. Returns None where the weighted parts have no
    label.
    """
    if weights is None:
        weights = np.ones(len(curve.labels), np.int64)
    labels = int(weights @ curve.labels)
    if labels == 0:
        return None
    weight = weights[curve.part]
    hits = np.cumsum(weight * curve.hit)
    said = np.cumsum(weight)
    precision = hits / np.maximum(said, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / labels, RECALL_POINTS, side="left")
    result: NDArray[np.float64] = np.append(envelope, 0.0)[np.minimum(at, len(envelope))]
    return result


def numbered_parts(images: Sequence[Scored]) -> dict[str, int]:
    """Group -> number, in the order of first appearance."""
    return {group: number for number, group in enumerate(dict.fromkeys(image.group for image in images))}


def _overlaps(said: Sequence[Detection], labels: Sequence[LabelledBox]) -> NDArray[np.float64]:
    """IoU as (detections, labels); -1 where the classes differ."""
    overlap = iou_matrix(
        np.array([d.box.xyxy for d in said], np.float64).reshape(-1, 4),
        np.array([label.box.xyxy for label in labels], np.float64).reshape(-1, 4),
    )
    names = np.array([label.class_name for label in labels], object)
    for row, detection in enumerate(said):
        overlap[row, names != detection.class_name] = -1.0
    return overlap


def _best_free(overlap: NDArray[np.float64], found: Sequence[bool], min_iou: float) -> int | None:
    free = np.where(found, -1.0, overlap)
    best = int(free.argmax()) if len(free) else -1
    return best if best >= 0 and free[best] >= min_iou else None
