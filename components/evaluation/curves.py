"""The data of the plots: precision-recall curves, scores of good and defective parts, and the confusion of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from components.evaluation.calibrate_scores import reliability
from components.evaluation.matching import Scored, numbered_parts, precision_at_recall, ranked
from components.evaluation.parts import top_scores
from inspection.codec import Document
from inspection.geometry import iou
from inspection.verdict import ClassThreshold

NOTHING = "(nothing)"
"""The confusion's row of false alarms and column of misses."""
_MOST_POINTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves(Document):
    """The curves of one split.

    precision: class -> 101 values at recall 0.00 to 1.00, IoU 0.5. good_scores, defective_scores: the highest score on
    each good and each defective part. confusion: number of boxes; a row for each labelled class and a column for each
    detected class, both in the order of `categories`: the classes, then `NOTHING`. reliability: class -> bins of the
    score, each as mean score, share of true detections, and number of detections.
    """

    precision: Mapping[str, tuple[float, ...]]
    good_scores: tuple[float, ...]
    defective_scores: tuple[float, ...]
    categories: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)

    @property
    def roc(self) -> tuple[list[float], list[float], list[float]]:
        """Three lists: false positive rate, true positive rate, and the score that gives them, by falling score.

        A part is judged defective from that score on. Empty where there are no good or no defective parts. At most
        some hundred points.
        """
        if not self.good_scores or not self.defective_scores:
            return [], [], []
        good, bad = np.sort(self.good_scores), np.sort(self.defective_scores)
        scores = np.unique(np.concatenate([good, bad]))[::-1]
        if len(scores) > _MOST_POINTS:
            scores = scores[np.linspace(0, len(scores) - 1, _MOST_POINTS).round().astype(int)]
        overkill = 1 - np.searchsorted(good, scores, side="left") / len(good)
        caught = 1 - np.searchsorted(bad, scores, side="left") / len(bad)
        # The curve begins at (0, 0): above every score no part is judged defective.
        return [0.0, *overkill.tolist()], [0.0, *caught.tolist()], [1.0, *scores.tolist()]


def draw_curves(images: Sequence[Scored], classes: Sequence[str], thresholds: Mapping[str, ClassThreshold]) -> Curves:
    """The data of all plots of one split."""
    parts = numbered_parts(images)
    precision = {}
    for name in classes:
        values = precision_at_recall(ranked(images, name, parts))
        if values is not None:
            precision[name] = tuple(round(float(value), 4) for value in values)
    good, defective = top_scores(images)
    return Curves(
        precision=precision,
        good_scores=tuple(round(score, 4) for score in good),
        defective_scores=tuple(round(score, 4) for score in defective),
        categories=(*classes, NOTHING),
        confusion=confusion(images, classes, thresholds),
        reliability={
            name: tuple((round(b.score, 4), round(b.true, 4), float(b.number)) for b in bins)
            for name, bins in reliability(images, classes).items()
        },
    )


def confusion(
    images: Sequence[Scored], classes: Sequence[str], thresholds: Mapping[str, ClassThreshold], *, min_iou: float = 0.5
) -> tuple[tuple[int, ...], ...]:
    """Count which class was detected as which. Boxes are matched whatever their class, the best score first.

    Returns number of boxes: rows are labelled classes, columns detected classes, and the last of each `NOTHING`.
    """
    nothing = len(classes)
    number = {name: index for index, name in enumerate(classes)}
    table = np.zeros((nothing + 1, nothing + 1), int)
    for image in images:
        free = list(image.labels)
        for detection in image.detections:
            if detection.score < thresholds[detection.class_name].fail:
                continue
            overlaps = [(iou(label.box, detection.box), index) for index, label in enumerate(free)]
            best = max(overlaps, default=(0.0, -1))
            row = nothing if best[0] < min_iou else number[free.pop(best[1]).class_name]
            table[row, number[detection.class_name]] += 1
        for label in free:
            table[number[label.class_name], nothing] += 1
    return tuple(tuple(int(value) for value in row) for row in table)
