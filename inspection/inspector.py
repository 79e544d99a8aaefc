"""The path from an image to a verdict. Evaluation and the device both run this code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from inspection.acceptance import Acceptance, RuleOutcome, judge
from inspection.anomaly import AnomalyMap
from inspection.buffers import Buffers
from inspection.decode import Nms
from inspection.geometry import Detection
from inspection.outputs import BOXES, decoder_of
from inspection.part_view import UNKNOWN_VIEW, PartView
from inspection.picture import PictureLimits, PictureMeasure, PictureProblem, measure, problem_of
from inspection.preprocess import Preprocess, letterbox
from inspection.verdict import ClassThreshold, Verdict

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(1, 3, height, width) float32 in 0..1 -> float32 in the form that the release names, see `inspection.outputs`. The
caller provides the runtime behind it.

The input is overwritten by the next image: what is to be kept of it must be copied."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The detections on an image, highest score first, and the verdict.

    problem: why the picture says nothing; the verdict is `uncertain` then, whatever was found. None for a picture that
    may be judged.
    picture: what was measured of the picture; None where nothing was.
    rules: the acceptance rules that were not kept, the gravest first; empty where the release has none, and where the
    picture says nothing.
    unmeasured: why a rule could not be judged, where the verdict is `uncertain` for that.
    anomaly_map: for people to look at, where the model answers one.
    """

    detections: tuple[Detection, ...]
    verdict: Verdict
    problem: PictureProblem | None = None
    picture: PictureMeasure | None = None
    rules: tuple[RuleOutcome, ...] = ()
    unmeasured: str | None = None
    anomaly_map: AnomalyMap | None = field(default=None, compare=False, repr=False)

    def doubted(self, problem: PictureProblem) -> Inspection:
        """The same inspection of a picture that says nothing."""
        return replace(self, verdict=Verdict.UNCERTAIN, problem=self.problem or problem, rules=(), unmeasured=None)


class Inspector:
    """Inspects images with one model: letterbox, network, decoding, verdict.

    Args:
        picture_limits: of the release; without them, only a picture of one grey says nothing.
        acceptance: the acceptance rules; without them, each defect fails the part.
        output: the form of the model's output, by the release; see `inspection.outputs`.

    Raises:
        ValueError: there is no class, a class has no threshold, or there is no such form of output.
    """

    def __init__(
        self,
        infer: Infer,
        preprocess: Preprocess,
        classes: Sequence[str],
        thresholds: Mapping[str, ClassThreshold],
        nms: Nms,
        picture_limits: PictureLimits | None = None,
        acceptance: Acceptance | None = None,
        output: str = BOXES,
    ) -> None:
        missing = [name for name in classes if name not in thresholds]
        if missing or not classes:
            raise ValueError(f"expected a threshold for each of {list(classes)}, missing {missing}")
        self._infer = infer
        self._preprocess = preprocess
        self._thresholds = dict(thresholds)
        self._decoder = decoder_of(
            output, classes=classes, nms=nms, input_width=preprocess.width, input_height=preprocess.height
        )
        self._picture_limits = picture_limits
        self._acceptance = acceptance
        # More than one only where several threads inspect at once.
        self._spare: list[Buffers] = []
        self._floor = min(threshold.uncertain for threshold in self._thresholds.values())

    def detect(self, image: NDArray[np.uint8], score_threshold: float) -> tuple[Detection, ...]:
        """Detections with a score of at least `score_threshold`, highest first. image: (h, w, 3) uint8, BGR."""
        with self._buffers() as buffers:
            tensor, geometry = letterbox(image, self._preprocess, buffers)
            return self._decoder.detections(self._infer(tensor), geometry, score_threshold)

    def inspect(
        self, image: NDArray[np.uint8], *, score_floor: float | None = None, view: PartView = UNKNOWN_VIEW
    ) -> Inspection:
        """Detections and verdict. A picture that says nothing is `uncertain`.

        Args:
            image: (h, w, 3) uint8, BGR.
            score_floor: below the thresholds, it adds weaker detections, for sampling; the verdict stays the same.
            view: how the camera sees the part, for acceptance rules in millimetres or in zones.
        """
        floor = self._floor if score_floor is None else min(self._floor, score_floor)
        with self._buffers() as buffers:
            tensor, geometry = letterbox(image, self._preprocess, buffers)
            picture = measure(tensor, geometry, buffers)
            output = self._infer(tensor)
            detections = self._decoder.detections(output, geometry, floor)
            shown = self._decoder.anomaly_map(output, geometry)
        problem = problem_of(picture, self._picture_limits)
        seen = view.of_picture(image.shape[1], image.shape[0])
        judged = judge(detections, self._thresholds, self._acceptance, seen)
        inspection = Inspection(detections, judged.verdict, None, picture, judged.outcomes, judged.unmeasured, shown)
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
