"""The path from an image to a verdict. Evaluation and the device both run this code.

A picture is one input of the network, or several (`tiles`): each input gives detections in pixels of the picture, and
`seams` puts those of several inputs together.
"""

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
from inspection.geometry import Box, Detection
from inspection.image import MAX_PIXELS, Picture, read_picture
from inspection.lanes import each
from inspection.outputs import BOXES, decoder_of
from inspection.part_view import UNKNOWN_VIEW, PartView
from inspection.picture import PictureLimits, PictureMeasure, PictureProblem, measure, pooled, problem_of
from inspection.preprocess import Letterbox, Preprocess, as_picture
from inspection.region import Region
from inspection.score_table import ScoreTable, calibrated, raw_floor
from inspection.seams import Found, merged, on_tile
from inspection.tiles import Cut
from inspection.verdict import ClassThreshold, Verdict

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(1, 3, height, width) float32 in 0..1 -> float32 in the form that the release names, see `inspection.outputs`. The
caller provides the runtime behind it.

The input is overwritten by the next one: what is to be kept of it must be copied."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The detections on an image, highest score first, and the verdict.

    problem: why the picture says nothing; the verdict is `uncertain` then, whatever was found. None for a picture that
    may be judged.
    picture: what was measured of the picture; None where nothing was.
    rules: the acceptance rules that were not kept, the gravest first; empty where the release has none, and where the
    picture says nothing.
    unmeasured: why a rule could not be judged, where the verdict is `uncertain` for that.
    anomaly_map: for people to look at, where the model answers one for the whole picture, as it lies.
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
    """Inspects images with one model: letterbox or tiles, network, decoding, verdict.

    Args:
        picture_limits: of the release; without them, only a picture of one grey says nothing.
        acceptance: the acceptance rules; without them, each defect fails the part.
        output: the form of the model's output, by the release; see `inspection.outputs`.
        at_once: how many tiles of a picture are judged at the same time, each on a thread; `infer` must allow that.
        score_tables: by class, what calibrates the model's scores; thresholds are of calibrated scores.

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
        *,
        at_once: int = 1,
        score_tables: Mapping[str, ScoreTable] | None = None,
    ) -> None:
        missing = [name for name in classes if name not in thresholds]
        if missing or not classes:
            raise ValueError(f"expected a threshold for each of {list(classes)}, missing {missing}")
        self._infer = infer
        self._preprocess = preprocess
        self._classes = tuple(classes)
        self._thresholds = dict(thresholds)
        self._nms = nms
        self._decoder = decoder_of(
            output, classes=classes, nms=nms, input_width=preprocess.width, input_height=preprocess.height
        )
        self._picture_limits = picture_limits
        self._acceptance = acceptance
        self._at_once = at_once
        self._score_tables = dict(score_tables or {})
        # More than one only where several threads inspect at once.
        self._spare: list[Buffers] = []
        self._floor = min(threshold.uncertain for threshold in self._thresholds.values())

    def read(self, data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
        """Decode an image as this model's release says.

        Raises:
            ImageError: see `read_picture`.
        """
        return read_picture(data, shrink=self._preprocess.shrink, max_pixels=max_pixels)

    def detect(self, image: NDArray[np.uint8] | Picture, score_threshold: float) -> tuple[Detection, ...]:
        """Detections with a score of at least `score_threshold`, highest first.

        Args:
            image: as `read` gives it; or (h, w, 3) uint8, BGR, decoded in full.
        """
        return self._look(image, score_threshold, None, measured=False).detections

    def inspect(
        self,
        image: NDArray[np.uint8] | Picture,
        *,
        score_floor: float | None = None,
        view: PartView = UNKNOWN_VIEW,
        region: Region | None = None,
    ) -> Inspection:
        """Detections and verdict. A picture that says nothing is `uncertain`.

        Args:
            image: as `read` gives it; or (h, w, 3) uint8, BGR, decoded in full.
            score_floor: below the thresholds, it adds weaker detections, for sampling; the verdict stays the same.
            view: how the camera sees the part, for acceptance rules in millimetres or in zones.
            region: what is judged of the camera's pictures; all where it is None. Brightness, contrast and sharpness
                are those of the whole picture, as in training: they tell whether the camera works.
        """
        picture = as_picture(image)
        if region is not None and not region.fits(picture):
            return Inspection((), Verdict.UNCERTAIN, PictureProblem.REGION)
        floor = self._floor if score_floor is None else min(self._floor, score_floor)
        looked = self._look(picture, floor, region, measured=True)
        measured = pooled(looked.measures)
        problem = problem_of(measured, self._picture_limits)
        if problem is None and not looked.judged:
            problem = PictureProblem.REGION
        seen = view.of_picture(picture.width, picture.height)
        judged = judge(looked.detections, self._thresholds, self._acceptance, seen)
        inspection = Inspection(
            looked.detections,
            judged.verdict,
            None,
            measured,
            judged.outcomes,
            judged.unmeasured,
            looked.anomaly_map,
        )
        return inspection if problem is None else inspection.doubted(problem)

    def _look(
        self, image: NDArray[np.uint8] | Picture, floor: float, region: Region | None, *, measured: bool
    ) -> _Looked:
        picture = as_picture(image)
        lowest = raw_floor(floor, self._classes, self._score_tables)
        with self._buffers() as whole:
            cut = Cut(picture if region is None else region.turned(picture), self._preprocess, whole)

            def look_at(number: int) -> _LookedAt:
                with self._buffers() as buffers:
                    tensor, geometry = cut.input(number, buffers)
                    said = measure(tensor, geometry, buffers) if measured else None
                    cut_away = None if region is None else region.cut_away(geometry, *tensor.shape[2:])
                    output = self._answer(tensor, geometry, cut_away)
                    if output is None:
                        return _LookedAt(None, said)
                    found = self._decoder.detections(output, geometry, lowest)
                    if cut_away is not None:
                        found = tuple(one for one in found if not _covers(cut_away, geometry, one.box))
                    if cut.tiles is not None:
                        return _LookedAt(on_tile(found, cut.tiles[number], geometry), said)
                    shown = self._decoder.anomaly_map(output, geometry) if measured else None
                    return _LookedAt([Found(one, frozenset()) for one in found], said, shown)

            answers = each(look_at, len(cut), self._at_once)
        detections = merged([one for answer in answers for one in answer.found or ()], self._nms)
        if self._score_tables:
            detections = tuple(one for one in calibrated(detections, self._score_tables) if one.score >= floor)
        shown = answers[0].anomaly_map
        if region is not None:
            detections = tuple(region.on_picture(detection, picture) for detection in detections)
            shown = shown if region.rotate == 0 else None
        measures = [answer.measure for answer in answers if answer.measure is not None]
        return _Looked(detections, measures, any(answer.found is not None for answer in answers), shown)

    def _answer(
        self, tensor: NDArray[np.float32], geometry: Letterbox, cut_away: NDArray[np.bool_] | None
    ) -> NDArray[np.float32] | None:
        """The network's answer to one input, with grey for what is cut away; None where that is all of it."""
        if cut_away is not None:
            if cut_away[geometry.shown(*cut_away.shape)].all():
                return None
            np.copyto(tensor[0], np.float32(self._preprocess.pad_value / 255), where=cut_away)
        return self._infer(tensor)

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


@dataclass(frozen=True, slots=True)
class _LookedAt:
    """What was found on one input, None where all of it is cut away; its measure; its map, of a whole picture."""

    found: list[Found] | None
    measure: PictureMeasure | None
    anomaly_map: AnomalyMap | None = None


@dataclass(frozen=True, slots=True)
class _Looked:
    """What one look at a picture found, and what was measured of each input. judged: whether anything was judged.

    anomaly_map: of a picture that is one input, and not turned.
    """

    detections: tuple[Detection, ...]
    measures: Sequence[PictureMeasure]
    judged: bool
    anomaly_map: AnomalyMap | None


def _covers(cut_away: NDArray[np.bool_], geometry: Letterbox, box: Box) -> bool:
    """Whether all of a box was cut away: the network answers for grey there."""
    x1, y1, x2, y2 = box.xyxy
    left, right = (max(0, round(x * geometry.scale_x + geometry.pad_left)) for x in (x1, x2))
    top, bottom = (max(0, round(y * geometry.scale_y + geometry.pad_top)) for y in (y1, y2))
    return bool(cut_away[top : max(bottom, top + 1), left : max(right, left + 1)].all())
