"""The rates of a split by class, by camera, by reason of capture, and by the size of the defect.

A part is defective if any of its photographs has a label, and judged defective if any has a detection at or above the
threshold; where the use case has acceptance rules, labels and detections that the rules tolerate do not count. What the
rates count:

- class: escapes among the parts that have a defect of the class; a part is found by a detection of any class. Overkill
  among all good parts, by a detection of the class.
- camera: as if there were only this camera's photographs.
- reason: as if there were only the photographs that were captured for this reason. A photograph with several counts for
  each of them.
- size: the area of a box as a share of its image's area. Escapes among the parts whose largest defect has the size.
  Overkill among all good parts, by a detection of the size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from components.evaluation.matching import Matched, Scored
from components.evaluation.parts import parts_of
from components.stores.models.evaluation_report import Rate, Slice
from inspection.geometry import Box, Detection
from inspection.verdict import ClassThreshold

SIZES: Final = (("small", 32**2 / (640 * 480)), ("medium", 96**2 / (640 * 480)), ("large", float("inf")))
"""Name and upper bound (exclusive) as a share of the image: COCO's areas in 640x480 pixels, about 1/300 and 3/100."""


def size_of(box: Box, image: Scored) -> str:
    """The size of a box in its image: `small`, `medium` or `large`."""
    share = box.area / (image.width * image.height)
    return next(name for name, below in SIZES if share < below)


def class_slice(images: Sequence[Scored], matches: Sequence[Matched], class_name: str) -> tuple[Rate, Rate, Rate, Rate]:
    """The rates of one class: (precision, recall, escape, overkill)."""
    hits = sum(d.class_name == class_name for match in matches for d in match.hits)
    said = sum(d.class_name == class_name for match in matches for d in match.said)
    found = [
        was_found
        for image, match in zip(images, matches, strict=True)
        for label, was_found in zip(image.labels, match.found, strict=True)
        if label.class_name == class_name
    ]
    bad = {image.group for image in images if any(label.class_name == class_name for label in image.defects)}
    return (
        Rate(count=hits, n=said),
        Rate(count=sum(found), n=len(found)),
        _escape(images, matches, bad),
        _overkill(images, matches, lambda image, detection: detection.class_name == class_name),
    )


def by_camera(
    images: Sequence[Scored], matches: Sequence[Matched], thresholds: Mapping[str, ClassThreshold]
) -> dict[str, Slice]:
    """Camera -> its rates; empty where no image has a camera."""
    both = list(zip(images, matches, strict=True))
    cameras = sorted({image.camera for image in images if image.camera})
    return {name: _alone([pair for pair in both if pair[0].camera == name], thresholds) for name in cameras}


def by_reason(
    images: Sequence[Scored], matches: Sequence[Matched], thresholds: Mapping[str, ClassThreshold]
) -> dict[str, Slice]:
    """Reason of capture -> its rates; empty where no image has a reason."""
    both = list(zip(images, matches, strict=True))
    reasons = sorted({reason for image in images for reason in image.reasons})
    return {name: _alone([pair for pair in both if name in pair[0].reasons], thresholds) for name in reasons}


def _alone(own: Sequence[tuple[Scored, Matched]], thresholds: Mapping[str, ClassThreshold]) -> Slice:
    """The rates of some photographs, as if there were no others."""
    found = [was_found for _, match in own for was_found in match.found]
    parts = parts_of([image for image, _ in own], thresholds)
    return Slice(
        recall=Rate(count=sum(found), n=len(found)), escape=parts.escape, overkill=parts.overkill, review=parts.review
    )


def by_size(images: Sequence[Scored], matches: Sequence[Matched]) -> dict[str, Slice]:
    """Size -> its rates, for each of `SIZES`."""
    largest: dict[str, float] = {}
    for image in images:
        for label in image.defects:
            share = label.box.area / (image.width * image.height)
            largest[image.group] = max(largest.get(image.group, 0.0), share)
    result = {}
    low = 0.0
    for name, below in SIZES:
        found = [
            was_found
            for image, match in zip(images, matches, strict=True)
            for label, was_found in zip(image.labels, match.found, strict=True)
            if size_of(label.box, image) == name
        ]
        bad = {group for group, share in largest.items() if low <= share < below}
        result[name] = Slice(
            recall=Rate(count=sum(found), n=len(found)),
            escape=_escape(images, matches, bad),
            overkill=_overkill(images, matches, _of_size(name)),
        )
        low = below
    return result


def _of_size(name: str) -> Callable[[Scored, Detection], bool]:
    return lambda image, detection: size_of(detection.box, image) == name


def _escape(images: Sequence[Scored], matches: Sequence[Matched], bad: set[str]) -> Rate:
    judged = {image.group for image, match in zip(images, matches, strict=True) if match.accusing}
    return Rate(count=len(bad - judged), n=len(bad))


def _overkill(
    images: Sequence[Scored], matches: Sequence[Matched], accuses: Callable[[Scored, Detection], bool]
) -> Rate:
    good = {image.group for image in images} - {image.group for image in images if image.is_defective}
    judged = {
        image.group
        for image, match in zip(images, matches, strict=True)
        if any(accuses(image, detection) for detection in match.accusing)
    }
    return Rate(count=len(good & judged), n=len(good))
