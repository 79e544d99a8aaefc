"""What a model finds on a split, in the bins in which a device counts what it finds on its line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from components.evaluation.matching import Scored
from inspection.drift import DetectionCounter, DetectionCounts
from inspection.verdict import ClassThreshold


def count_detections(images: Iterable[Scored], thresholds: Mapping[str, ClassThreshold]) -> DetectionCounts:
    """Count detections from each class's `uncertain` threshold on, and the verdicts on the images, as a device does."""
    counter = DetectionCounter()
    for image in images:
        shown = [found for found in image.detections if found.score >= thresholds[found.class_name].uncertain]
        counter.add(image.judged(thresholds)[0], shown, image.width, image.height)
    return counter.counts()
