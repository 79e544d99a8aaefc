"""The path from an image to a verdict. Evaluation and the device both run this code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspection.buffers import Buffers
from inspection.decode import Nms, decode_yolov8
from inspection.geometry import Detection
from inspection.picture import PictureLimits, PictureMeasure, PictureProblem, measure, problem_of
from inspection.preprocess import Preprocess, letterbox
from inspection.verdict import ClassThreshold, Verdict, decide

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(1, 3, height, width) float32 in 0..1 -> (1, 4 + classes, n) float32. The caller provides the runtime behind it.

The input is overwritten by the next image: what is to be kept of it must be copied."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The detections on an image, highest score first, and the verdict.

    problem: why the picture says nothing; the verdict is `uncertain` then, whatever was found. None for a picture that
    may be judged.
    picture: what was measured of the picture; None where nothing was.
    """

    detections: tuple[Detection, ...]
    verdict: Verdict
    problem: PictureProblem | None = None
    picture: PictureMeasure | None = None

    def doubted(self, problem: PictureProblem) -> Inspection:
        """The same inspection of a picture that says nothing."""
        return Inspection(self.detections, Verdict.UNCERTAIN, self.problem or problem, self.picture)


class Inspector:
    """Inspects images with one model: letterbox, network, decoding, verdict.

    Args:
        picture_limits: of the release; without them, only a picture of one grey says nothing.

    Raises:
        ValueError: there is no class, or a class has no threshold.
    """

    def __init__(
        self,
        infer: Infer,
        preprocess: Preprocess,
        classes: Sequence[str],
        thresholds: Mapping[str, ClassThreshold],
        nms: Nms,
        picture_limits: PictureLimits | None = None,
    ) -> None:
        missing = [name for name in classes if name not in thresholds]
        if missing or not classes:
            raise ValueError(f"expected a threshold for each of {list(classes)}, missing {missing}")
        self._infer = infer
        self._preprocess = preprocess
        self._classes = tuple(classes)
        self._thresholds = dict(thresholds)
        self._nms = nms
        self._picture_limits = picture_limits
        # More than one only where several threads inspect at once.
        self._spare: list[Buffers] = []
        self._floor = min(threshold.uncertain for threshold in self._thresholds.values())

    def detect(self, image: NDArray[np.uint8], score_threshold: float) -> tuple[Detection, ...]:
        """Detections with a score of at least `score_threshold`, highest first. image: (h, w, 3) uint8, BGR."""
        with self._buffers() as buffers:
            tensor, geometry = letterbox(image, self._preprocess, buffers)
            return decode_yolov8(self._infer(tensor), geometry, self._classes, score_threshold, self._nms)

    def inspect(self, image: NDArray[np.uint8], *, score_floor: float | None = None) -> Inspection:
        """Detections and verdict. A picture that says nothing is `uncertain`.

        Args:
            image: (h, w, 3) uint8, BGR.
            score_floor: below the thresholds, it adds weaker detections, for sampling; the verdict stays the same.
        """
        floor = self._floor if score_floor is None else min(self._floor, score_floor)
        with self._buffers() as buffers:
            tensor, geometry = letterbox(image, self._preprocess, buffers)
            picture = measure(tensor, geometry, buffers)
            detections = decode_yolov8(self._infer(tensor), geometry, self._classes, floor, self._nms)
        problem = problem_of(picture, self._picture_limits)
        inspection = Inspection(detections, decide(detections, self._thresholds), None, picture)
        return inspection if problem is None else inspection.doubted(problem)

    @contextmanager
    def _buffers(self) -> Iterator[Buffers]:
        """Buffers that no other thread uses meanwhile."""
        try:
            buffers = self._spare.pop()
        except IndexError:
            buffers = Buffers()
        try:
            yield buffers
        finally:
            self._spare.append(buffers)
