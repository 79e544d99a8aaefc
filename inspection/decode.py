"""Turns the output tensor of YOLOv8 into detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspection.geometry import Box, Detection, iou_matrix
from inspection.preprocess import Letterbox

_MAX_CANDIDATES = 3000


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
    candidates = output[0][:, output[0, 4:].max(axis=0) >= score_threshold].T
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
    detections: list[Detection] = []
    for index in _suppress(xyxy, class_ids, nms):
        box = Box.from_xyxy(*(float(value) for value in xyxy[index])).clipped(
            geometry.image_width, geometry.image_height
        )
        if box is not None:
            score = float(min(1.0, max(0.0, scores[index])))
            detections.append(Detection(classes[int(class_ids[index])], score, box))
    return tuple(detections)


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
    finite = np.isfinite(output)
    if not finite.all():
        raise OutputError(f"expected finite numbers, but {output.size - int(finite.sum())} of {output.size} are not")
    if not output.any():
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
