"""Inspection without learning: what a threshold, morphology and connected components can do on the plates.

It measures how hard the generated line is. It is favoured on purpose: every setting is tried and the one with the best
mAP50 on the very images it is scored on is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from components.generated_parts.photographs import Photograph
from inspection.geometry import iou_matrix
from inspection.image import decode_image

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Score:
    """Of one setting over all photographs. `overkill` and `escape` are shares of the good and the defective ones."""

    setting: str
    map50: float
    overkill: float
    escape: float
    overkill_at_best_f1: float


def best_thresholding(photographs: Sequence[Photograph]) -> Score:
    """The setting with the best mAP50 on these photographs."""
    prepared = [_Prepared.of(p) for p in photographs]
    scores: list[Score] = []
    for response, threshold, closing in _settings():
        found = [_components(p.responses[response], threshold, closing) for p in prepared]
        for min_length in (12, 40):
            name = f"{response} > {threshold}, closed by {closing}, longer than {min_length} px"
            scores.append(_score(name, [f.longer_than(min_length) for f in found], prepared))
    return max(scores, key=lambda s: s.map50)


def _settings() -> Iterator[tuple[str, int, int]]:
    """Which response of the image, the threshold on it, and the size of the closing in pixels."""
    responses = {
        "brightness": range(70, 240, 20),
        "brightness over the plate's median": range(10, 130, 20),
        "brightness over its surroundings, 15": range(8, 65, 8),
        "brightness over its surroundings, 41": range(8, 65, 8),
        "top-hat 7": range(8, 65, 8),
        "top-hat 15": range(8, 65, 8),
        "black-hat 15": range(8, 41, 8),
        "difference from its surroundings, 15": range(8, 65, 8),
    }
    for response, thresholds in responses.items():
        for threshold, closing in product(thresholds, (1, 7, 13)):
            yield response, threshold, closing


@dataclass(frozen=True)
class _Components:
    """(n, 4) x1, y1, x2, y2 in pixels, and of each its length and its score."""

    xyxy: NDArray[np.float64]
    length: NDArray[np.float64]
    score: NDArray[np.float64]

    def longer_than(self, length: float) -> _Components:
        keep = self.length > length
        return _Components(self.xyxy[keep], self.length[keep], self.score[keep])


@dataclass(frozen=True)
class _Prepared:
    photograph: Photograph
    responses: dict[str, Grey]
    truth: NDArray[np.float64]

    @classmethod
    def of(cls, photograph: Photograph) -> _Prepared:
        grey = cv2.cvtColor(decode_image(photograph.jpeg), cv2.COLOR_BGR2GRAY)
        plate = _plate(grey)
        smooth = cv2.GaussianBlur(grey, (3, 3), 0)
        level = float(np.median(grey[plate > 0]))
        responses = {
            "brightness": smooth,
            "brightness over the plate's median": cv2.subtract(smooth, np.full_like(smooth, round(level))),
        }
        # Beyond the plate the image continues as the plate does, so that its edge is no feature.
        filled = np.where(plate > 0, smooth, np.uint8(round(level))).astype(np.uint8)
        for size in (15, 41):
            responses[f"brightness over its surroundings, {size}"] = cv2.subtract(
                filled, cv2.blur(filled, (size, size))
            )
        for size in (7, 15):
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
            responses[f"top-hat {size}"] = cv2.morphologyEx(filled, cv2.MORPH_TOPHAT, kernel)
            responses[f"black-hat {size}"] = cv2.morphologyEx(filled, cv2.MORPH_BLACKHAT, kernel)
        responses["difference from its surroundings, 15"] = cv2.absdiff(filled, cv2.blur(filled, (15, 15)))
        inside = {name: cv2.bitwise_and(r, r, mask=plate) for name, r in responses.items()}
        truth = np.array([b.box.xyxy for b in photograph.boxes], np.float64).reshape(-1, 4)
        return cls(photograph, inside, truth)


def _plate(grey: Grey) -> Grey:
    """255 where the plate is, a little inside of its edge and without the hole."""
    _, dark = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    contours, _ = cv2.findContours(dark, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    largest = max(contours, key=cv2.contourArea)
    # The jaws of the fixture stick to the plate; an opening larger than they are high tears them off.
    filled = cv2.drawContours(np.zeros_like(grey), [largest], 0, 255, -1)
    filled = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((61, 61), np.uint8))
    bright = cv2.inRange(cv2.medianBlur(grey, 9), 215, 255)
    hole = cv2.dilate(cv2.bitwise_and(bright, filled), np.ones((7, 7), np.uint8))
    return cv2.bitwise_and(cv2.erode(filled, np.ones((11, 11), np.uint8), borderValue=0), cv2.bitwise_not(hole))


def _score(name: str, found: Sequence[_Components], prepared: Sequence[_Prepared]) -> Score:
    scores: list[float] = []
    hits: list[bool] = []
    for components, photo in zip(found, prepared, strict=True):
        taken: set[int] = set()
        overlaps = iou_matrix(components.xyxy, photo.truth)
        for i in np.argsort(-components.score, kind="stable"):
            free = [j for j in range(len(photo.truth)) if j not in taken and overlaps[i, j] >= 0.5]
            match = max(free, key=lambda j: overlaps[i, j], default=None)
            if match is not None:
                taken.add(match)
            scores.append(float(components.score[i]))
            hits.append(match is not None)
    total = sum(len(p.truth) for p in prepared)
    map50, cut = _average_precision(np.array(scores), np.array(hits, bool), total)
    good = [f.score for f, p in zip(found, prepared, strict=True) if not p.photograph.defective]
    bad = [f.score for f, p in zip(found, prepared, strict=True) if p.photograph.defective]
    return Score(
        setting=name,
        map50=map50,
        overkill=float(np.mean([len(s) > 0 for s in good])),
        escape=float(np.mean([len(s) == 0 for s in bad])),
        overkill_at_best_f1=float(np.mean([bool((s >= cut).any()) for s in good])),
    )


def _components(response: Grey, threshold: int, closing: int) -> _Components:
    """Connected components; the score is the length times the mean response."""
    binary = (response > threshold).astype(np.uint8)
    if closing > 1:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (closing, closing))
        binary = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary)
    boxes = stats[1:].astype(np.float64)
    sums = np.bincount(labels.ravel(), response.ravel(), count)[1:]
    length = np.hypot(boxes[:, 2], boxes[:, 3])
    # Pieces of a few pixels are noise under every rule; leaving them out here saves most of the time.
    keep = length > 12
    xyxy = np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]])
    return _Components(xyxy[keep], length[keep], (length * sums / np.maximum(boxes[:, 4], 1))[keep])


def _average_precision(scores: NDArray[np.float64], hits: NDArray[np.bool_], total: int) -> tuple[float, float]:
    """Area below the precision envelope, and the score at which F1 is best."""
    if len(scores) == 0:
        return 0.0, np.inf
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hits[order])
    recall, precision = true / total, true / np.arange(1, len(order) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope)), float(scores[order][int(np.argmax(f1))])
