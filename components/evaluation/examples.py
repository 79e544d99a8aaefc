"""Examples for the report page: the best finds, the worst misses and the worst false alarms, with boxes drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from components.evaluation.matching import Matched, Scored, matched
from inspection.geometry import Box
from inspection.verdict import ClassThreshold

Kind = Literal["best", "miss", "false-alarm"]
_LABEL, _FOUND, _FALSE = (60, 160, 60), (200, 120, 30), (40, 40, 220)  # BGR: green, blue, red
_SIDE: Final = 480
_JPEG_QUALITY: Final = 85


@dataclass(frozen=True, slots=True)
class Example:
    """An image to show. index: of the image in its split; caption: why it is shown."""

    kind: Kind
    index: int
    caption: str


def choose_examples(
    images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold], *, each: int = 4
) -> list[Example]:
    """Choose at most `each` examples of every kind.

    best: every label is found and there is no false alarm; first the image whose lowest score is highest. miss: a label
    has no detection; images of escaped parts first, then by the largest missed box. false-alarm: by the highest score
    of a wrong detection.
    """
    matches = [matched(image, thresholds) for image in images]
    judged = {image.group for image, match in zip(images, matches, strict=True) if match.accusing}
    defective = {image.group for image in images if image.is_defective}
    best: list[tuple[float, Example]] = []
    misses: list[tuple[tuple[bool, float], Example]] = []
    false_alarms: list[tuple[float, Example]] = []
    for index, (image, match) in enumerate(zip(images, matches, strict=True)):
        if match.hits and all(match.found) and not match.false_alarms:
            lowest = min(d.score for d in match.hits)
            best.append(
                (lowest, Example("best", index, f"part {image.group}: all {len(match.hits)} found, {lowest:.2f}"))
            )
        if not all(match.found):
            missed = [label for label, found in zip(image.labels, match.found, strict=True) if not found]
            escaped = image.group in defective and image.group not in judged
            largest = max(label.box.area / (image.width * image.height) for label in missed)
            names = ", ".join(sorted({label.class_name for label in missed}))
            said = f"part {image.group}: {len(missed)} of {len(image.labels)} missed ({names})"
            misses.append(
                ((escaped, largest), Example("miss", index, said + ("; the part escaped" if escaped else "")))
            )
        if match.false_alarms:
            worst = max(match.false_alarms, key=lambda d: d.score)
            where = "on a good image" if not image.labels else "beside true ones"
            false_alarms.append(
                (
                    worst.score,
                    Example("false-alarm", index, f"part {image.group}: {worst.class_name} {worst.score:.2f} {where}"),
                )
            )
    return [
        *(example for _, example in sorted(best, key=lambda row: -row[0])[:each]),
        *(example for _, example in sorted(misses, key=lambda row: (-row[0][0], -row[0][1]))[:each]),
        *(example for _, example in sorted(false_alarms, key=lambda row: -row[0])[:each]),
    ]


def draw(picture: NDArray[np.uint8], image: Scored, thresholds: Mapping[str, ClassThreshold]) -> bytes:
    """Draw the boxes on an image; returns a JPEG of at most 480 pixels a side.

    Labels are green, true detections blue and wrong ones red, detections with their score.
    """
    match: Matched = matched(image, thresholds)
    scale = min(1.0, _SIDE / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    canvas = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    for label in image.labels:
        _box(canvas, label.box, scale, _LABEL, "")
    for detection in match.hits:
        _box(canvas, detection.box, scale, _FOUND, f"{detection.score:.2f}")
    for detection in match.false_alarms:
        _box(canvas, detection.box, scale, _FALSE, f"{detection.score:.2f}")
    ok, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert ok  # OpenCV encodes every 8-bit BGR image as JPEG
    return bytes(data.tobytes())


def _box(canvas: NDArray[np.uint8], box: Box, scale: float, colour: tuple[int, int, int], text: str) -> None:
    x1, y1, x2, y2 = (round(value * scale) for value in box.xyxy)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2 if text else 1)
    if text:
        at = (max(0, x1), y1 - 4 if y1 > 14 else min(canvas.shape[0] - 2, y2 + 12))
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
