"""Golden samples: test images with the detections that a healthy device must reproduce."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from components.evaluation.detect import Detector
from components.evaluation.matching import Scored
from components.evaluation.pictures import Pictures
from inspection.documents import GoldenSample
from inspection.geometry import Detection
from inspection.golden import difference
from inspection.image import EXTENSIONS, image_format, sha256_of
from inspection.verdict import ClassThreshold

_TRIED = 8


def choose(
    images: Sequence[Scored],
    *,
    most: int = 4,
    faint_from: float = 0.35,
    holds: Callable[[int], bool] = lambda index: True,
) -> list[int]:
    """Choose a clear defect, a faint defect, a good part and a hard good part, where there are such; returns indices.

    An image counts by its highest score. The clear defect has the highest score of the defective images, the faint
    defect the lowest that is at least `faint_from` (the operating threshold). The good part has the lowest score of the
    good images, the hard good part the highest.

    Args:
        holds: whether all models of the release give the same answer to an image. Of the first few images of each kind,
            the first that holds is taken; where none holds, the first one, because a model that fails there is not
            healthy.
    """

    def top(index: int) -> float:
        return max((d.score for d in images[index].detections), default=0.0)

    bad = sorted((index for index, image in enumerate(images) if image.labels), key=top)
    good = sorted((index for index, image in enumerate(images) if not image.labels), key=top)
    seen = [index for index in bad if top(index) >= faint_from]
    # Where no defect reaches `faint_from`, the defect with the middle score takes the place of the faint one.
    faint = seen or bad[len(bad) // 2 :]
    wanted: list[int] = []
    for ranking in (bad[::-1], faint, good, good[::-1]):
        left = [index for index in ranking if index not in wanted][:_TRIED]
        if left:
            wanted.append(next((index for index in left if holds(index)), left[0]))
    return wanted[:most]


class Answers:
    """The answers of the fp32 model to test images, as a device computes them, and how the int8 variant differs."""

    def __init__(
        self,
        fp32: Detector,
        int8: Detector | None,
        thresholds: Mapping[str, ClassThreshold],
        pictures: Pictures,
    ) -> None:
        self._fp32_detector, self._fp32 = fp32, fp32.inspector(thresholds)
        self._int8 = int8.inspector(thresholds) if int8 is not None else None
        self._floor = min(threshold.uncertain for threshold in thresholds.values())
        self._pictures = pictures
        self._expected: dict[int, tuple[Detection, ...]] = {}
        self._differs: dict[int, str] = {}

    def expected(self, index: int) -> tuple[Detection, ...]:
        """The detections of the fp32 model with at least the lowest `uncertain` score."""
        if index not in self._expected:
            image = self._fp32.read(self._pictures[index])
            self._expected[index] = self._fp32.detect(image, self._floor)
        return self._expected[index]

    def differs(self, index: int) -> str:
        """How the int8 variant's answer differs beyond the tolerance; '' where it does not, or there is no variant."""
        if self._int8 is None:
            return ""
        if index not in self._differs:
            image = self._int8.read(self._pictures[index])
            answer = self._int8.detect(image, self._floor)
            tolerance = self._fp32_detector.tolerance(image)
            self._differs[index] = difference(answer, self.expected(index), tolerance, self._floor) or ""
        return self._differs[index]

    def sample(self, index: int) -> GoldenSample:
        """The golden sample of an image."""
        data = self._pictures[index]
        digest = sha256_of(data)
        return GoldenSample(
            file=f"{digest}.{EXTENSIONS[image_format(data)]}",
            sha256=digest,
            expected=self.expected(index),
            tolerance=self._fp32_detector.tolerance(self._fp32.read(data)),
        )
