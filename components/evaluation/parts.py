"""Parts as the line sees them: which are defective by their labels, and the verdict on each by all its photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components.evaluation.matching import Scored
from components.stores.models.evaluation_report import Rate
from inspection.geometry import iou
from inspection.verdict import ClassThreshold, Verdict

MIN_OVERLAP: Final = 0.1
"""The least IoU of a detection and a label that are taken for the same place. How exact a box is, recall says."""
_RANK: Final = {Verdict.PASS: 0, Verdict.UNCERTAIN: 1, Verdict.FAIL: 2}


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a split. verdicts: group -> verdict: the worst of its photographs. defective: by their labels."""

    verdicts: Mapping[str, Verdict]
    defective: frozenset[str]

    @property
    def escaped(self) -> frozenset[str]:
        """The defective parts that the model does not judge defective."""
        return frozenset(group for group in self.defective if self.verdicts[group] is not Verdict.FAIL)

    @property
    def escape(self) -> Rate:
        """Defective parts that are not judged defective, of all defective parts."""
        return Rate(count=len(self.escaped), n=len(self.defective))

    @property
    def overkill(self) -> Rate:
        """Good parts that are judged defective, of all good parts."""
        good = [verdict for group, verdict in self.verdicts.items() if group not in self.defective]
        return Rate(count=good.count(Verdict.FAIL), n=len(good))

    @property
    def review(self) -> Rate:
        """Parts that a person has to look at, of all parts: the model judges them uncertain."""
        return Rate(count=list(self.verdicts.values()).count(Verdict.UNCERTAIN), n=len(self.verdicts))

    @property
    def escapes_in_review(self) -> int:
        """Of the escaped parts, those that a person has to look at."""
        return sum(self.verdicts[group] is Verdict.UNCERTAIN for group in self.escaped)


def parts_of(images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold]) -> Parts:
    """Judge the parts of some images. A part is defective, by labels or by verdict, if any of its photographs is.

    Both sides are by the acceptance rules of the images, where they have any.
    """
    verdicts: dict[str, Verdict] = {}
    for image in images:
        found, _ = image.judged(thresholds)
        verdicts[image.group] = max(found, verdicts.get(image.group, found), key=_RANK.__getitem__)
    return Parts(verdicts, frozenset(image.group for image in images if image.is_defective))


def top_scores(images: Sequence[Scored]) -> tuple[list[float], list[float]]:
    """The highest score on each good part, and on each defective part, over all its photographs; 0 without any."""
    top: dict[str, float] = {}
    for image in images:
        top[image.group] = max([top.get(image.group, 0.0), *(found.score for found in image.detections)])
    bad = {image.group for image in images if image.is_defective}
    good = [score for group, score in top.items() if group not in bad]
    return good, [score for group, score in top.items() if group in bad]


def escape_by_location(images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold]) -> Rate:
    """Defective parts of which no detection at the threshold lies where a defect is, on any photograph.

    Such a part escapes, or is rejected only because of a false alarm elsewhere. The class of the detection does not
    matter: the line rejects the part for what is there.
    """
    defective: set[str] = set()
    located: set[str] = set()
    for image in images:
        if not (defects := image.defects):
            continue
        defective.add(image.group)
        said = [d for d in image.detections if d.score >= thresholds[d.class_name].fail]
        if any(iou(label.box, detection.box) >= MIN_OVERLAP for detection in said for label in defects):
            located.add(image.group)
    return Rate(count=len(defective - located), n=len(defective))
