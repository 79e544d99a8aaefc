"""The rates of a split by class, by camera, and by the size of the defect.

A part is defective if any of its photographs has a label. It is judged defective if any has a detection at or above the
threshold. What the rates count:

- class: escapes among the parts that have a defect of the class; a part is found by a detection of any class. Overkill
  among all good parts, by a detection of the class.
- camera: as if there were only this camera's photographs.
- size: the area of a box as a share of its image's area. Escapes among the parts whose largest defect has the size.
  Overkill among all good parts, by a detection of the size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from components.evaluation.matching import Matched, Scored
from components.stores.models.evaluation_report import Rate, Slice
from inspection.geometry import Box, Detection

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
    bad = {image.group for image in images if any(label.class_name == class_name for label in image.labels)}
    return (
        Rate(count=hits, n=said),
        Rate(count=sum(found), n=len(found)),
        _escape(images, matches, bad),
        _overkill(images, matches, lambda image, detection: detection.class_name == class_name),
    )


def by_camera(images: Sequence[Scored], matches: Sequence[Matched]) -> dict[str, Slice]:
    """Camera -> its rates; empty where no image has a camera."""
    cameras = sorted({image.camera for image in images if image.camera})
    result = {}
    for camera in cameras:
        own = [(image, match) for image, match in zip(images, matches, strict=True) if image.camera == camera]
        own_images, own_matches = [pair[0] for pair in own], [pair[1] for pair in own]
        found = [was_found for match in own_matches for was_found in match.found]
        result[camera] = Slice(
            recall=Rate(count=sum(found), n=len(found)),
            escape=_escape(own_images, own_matches, {image.group for image in own_images if image.labels}),
            overkill=_overkill(own_images, own_matches, lambda image, detection: True),
        )
    return result


def by_size(images: Sequence[Scored], matches: Sequence[Matched]) -> dict[str, Slice]:
    """Size -> its rates, for each of `SIZES`."""
    largest: dict[str, float] = {}
    for image in images:
        for label in image.labels:
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
    judged = {image.group for image, match in zip(images, matches, strict=True) if match.said}
    return Rate(count=len(bad - judged), n=len(bad))


def _overkill(
    images: Sequence[Scored], matches: Sequence[Matched], accuses: Callable[[Scored, Detection], bool]
) -> Rate:
    good = {image.group for image in images} - {image.group for image in images if image.labels}
    judged = {
        image.group
        for image, match in zip(images, matches, strict=True)
        if any(accuses(image, detection) for detection in match.said)
    }
    return Rate(count=len(good & judged), n=len(good))
