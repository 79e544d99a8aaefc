"""Turns the output tensor of YOLOv8 into detections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspection.geometry import Box, Detection, iou_matrix
from inspection.preprocess import Letterbox

_MAX_CANDIDATES = 3000
_FEW = 32


class OutputError(ValueError):
    """The answer of a network that says nothing about an image. It must never be read as *nothing was found*."""


@dataclass(frozen=True, slots=True)
class Nms:
    """Greedy non-maximum suppression by score.

    iou: of two boxes of one class that overlap by more than this, 0..1, the one with the lower score is removed.
    class_agnostic: boxes of different classes suppress each other too.
    """

    iou: float = 0.5
    max_detections: int = 100
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.iou <= 1.0:
            raise ValueError(f"nms iou lies in (0, 1], but got {self.iou}")
        if self.max_detections < 1:
            raise ValueError(f"max_detections is at least 1, but got {self.max_detections}")


def decode_yolov8(
    output: NDArray[np.float32], geometry: Letterbox, classes: Sequence[str], score_threshold: float, nms: Nms
) -> tuple[Detection, ...]:
    """Detections of at least `score_threshold`, after non-maximum suppression, highest score first.

    Args:
        output: (1, 4 + len(classes), n) float32: centre x, centre y, width and height in pixels of the input, then one
            score in 0..1 for each class.
        geometry: where the image lies in the input.

    Returns:
        Boxes in pixels of the image, clipped to it.

    Raises:
        OutputError: see `check_output_values`.
    """
    check_output_values(output, len(classes))
    # Nearly all of the thousands of places have a very low score: they are removed before anything else is computed.
    scores = output[0, 4:]
    (places,) = ((scores[0] if len(scores) == 1 else scores.max(axis=0)) >= score_threshold).nonzero()
    candidates = output[0, :, places]
    kept = (_kept_of_few if len(places) <= _FEW else _kept_of_many)(candidates, geometry, nms)
    detections: list[Detection] = []
    for class_id, score, xyxy in kept:
        box = Box.from_xyxy(*xyxy).clipped(geometry.image_width, geometry.image_height)
        if box is not None:
            detections.append(Detection(classes[class_id], min(1.0, max(0.0, score)), box))
    return tuple(detections)


_Corners = tuple[float, float, float, float]


def _kept_of_few(candidates: NDArray[np.float32], geometry: Letterbox, nms: Nms) -> list[tuple[int, float, _Corners]]:
    """As `_kept_of_many`, to the last bit: with few candidates, plain numbers take a fraction of the time of arrays."""
    found: list[tuple[int, float, _Corners]] = []
    for row in candidates.tolist():
        x, y, half_width, half_height = row[0], row[1], row[2] / 2, row[3] / 2
        score = max(row[4:])
        x1, y1 = geometry.point_in_image(x - half_width, y - half_height)
        x2, y2 = geometry.point_in_image(x + half_width, y + half_height)
        if half_width > 0 and half_height > 0 and x2 > x1 and y2 > y1:
            found.append((row.index(score, 4) - 4, score, (x1, y1, x2, y2)))
    found.sort(key=lambda one: -one[1])
    kept: list[tuple[int, float, _Corners]] = []
    for one in found:
        if len(kept) >= nms.max_detections:
            break
        if not any(
            (nms.class_agnostic or other[0] == one[0]) and _overlap(other[2], one[2]) > nms.iou for other in kept
        ):
            kept.append(one)
    return kept


def _overlap(a: _Corners, b: _Corners) -> float:
    """As `iou_matrix` computes it."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def _kept_of_many(candidates: NDArray[np.float32], geometry: Letterbox, nms: Nms) -> list[tuple[int, float, _Corners]]:
    """The class, score and corners of the boxes that stay, in pixels of the image, highest score first.

    Args:
        candidates: (n, 4 + classes), see `decode_yolov8`.
    """
    candidates = candidates[(candidates[:, 2:4] > 0).all(axis=1)]
    class_ids = candidates[:, 4:].argmax(axis=1)
    scores = candidates[np.arange(len(candidates)), 4 + class_ids]
    order = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
    candidates, class_ids, scores = candidates[order], class_ids[order], scores[order]
    # In float32 the two corners of a very small box would be equal, and those of a very large box would overflow.
    centre, half = candidates[:, :2].astype(np.float64), candidates[:, 2:4].astype(np.float64) / 2
    xyxy = geometry.to_image(np.concatenate([centre - half, centre + half], axis=1))
    extended = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
    xyxy, class_ids, scores = xyxy[extended], class_ids[extended], scores[extended]
    return [
        (int(class_ids[index]), float(scores[index]), tuple(xyxy[index].tolist()))
        for index in _suppress(xyxy, class_ids, nms)
    ]


def check_output_values(output: NDArray[np.float32], classes: int) -> None:
    """Check that an output is the answer of a network that works.

    Raises:
        OutputError: it has another shape, no place at all, a value that is not finite, or nothing but zeros. The boxes
            of a working network have a size, so zeros alone come from a runtime that computed nothing.
    """
    rows = 4 + classes
    if output.ndim != 3 or output.shape[0] != 1 or output.shape[1] != rows or output.shape[2] == 0:
        raise OutputError(
            f"expected an output of shape (1, {rows}, n) for {classes} classes with n > 0, got {output.shape}"
        )
    if output.dtype.kind != "f":
        raise OutputError(f"expected an output of floating-point numbers, got {output.dtype}")
    # The least and the greatest are numbers only where all are: two passes, and no array in between.
    least, greatest = float(output.min()), float(output.max())
    if not (math.isfinite(least) and math.isfinite(greatest)):
        wrong = output.size - int(np.isfinite(output).sum())
        raise OutputError(f"expected finite numbers, but {wrong} of {output.size} are not")
    if least == greatest == 0.0:
        raise OutputError(f"expected boxes and scores, but all {output.size} numbers are zero")


def _suppress(xyxy: NDArray[np.float64], class_ids: NDArray[np.int64], nms: Nms) -> list[int]:
    kept: list[int] = []
    alive = np.ones(len(xyxy), dtype=bool)
    for index in range(len(xyxy)):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) >= nms.max_detections:
            break
        rest = alive.copy()
        rest[: index + 1] = False
        if not nms.class_agnostic:
            rest &= class_ids == class_ids[index]
        others = np.flatnonzero(rest)
        if len(others):
            overlaps = iou_matrix(xyxy[index : index + 1], xyxy[others])[0]
            alive[others[overlaps > nms.iou]] = False
    return kept
