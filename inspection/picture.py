"""Whether a picture says anything: too dark, too bright, flat, blurred, or the same again and again.

A network finds nothing on a black picture, and *nothing found* would be a good part. Such a picture makes the verdict
`uncertain`. What is normal on a line is measured on the pictures that the network was trained with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.buffers import Buffers
from inspection.codec import Part
from inspection.preprocess import Letterbox

FLAT: Final = 2.0
"""A picture with less contrast shows one grey only; the noise of a covered camera has about 1."""
MIN_PICTURES: Final = 10
"""From fewer pictures no limits are derived."""
_TO_GREY: Final = 255 / 3
_BLACK: Final = 32.0
_WHITE: Final = 223.0
_LOW_PERCENTILE: Final = 1.0
_HIGH_PERCENTILE: Final = 99.0


class PictureProblem(StrEnum):
    """Why a picture says nothing about its part."""

    DARK = "dark"
    BRIGHT = "bright"
    FLAT = "flat"
    """It shows one grey, or nearly so."""
    BLURRED = "blurred"
    FROZEN = "frozen"
    """A live camera gives the same bytes again and again."""
    REGION = "region"
    """The region that the device is to judge is for pictures of another size, or leaves nothing of this one."""


@dataclass(frozen=True, slots=True)
class PictureMeasure:
    """What is measured on the grey picture at the scale of the network's input, without its border.

    brightness: mean, 0..255. contrast: standard deviation, 0..127.5. sharpness: variance of the Laplacian.
    """

    brightness: float
    contrast: float
    sharpness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits(Part):
    """What a picture of a line must have to say something; see `derive` for where the numbers come from."""

    brightness_low: float
    """The least mean, 0..255."""
    brightness_high: float
    """The greatest mean, 0..255."""
    contrast_low: float
    """The least standard deviation."""
    sharpness_low: float
    """The least variance of the Laplacian."""
    pictures: int
    """How many pictures were measured."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.brightness_low < self.brightness_high <= 255.0:
            raise ValueError(
                "picture limits need 0 <= brightness_low < brightness_high <= 255, but got "
                f"{self.brightness_low}, {self.brightness_high}"
            )
        if not 0.0 <= self.contrast_low <= 127.5:
            raise ValueError(f"contrast_low lies in 0..127.5, but got {self.contrast_low}")
        if self.sharpness_low < 0.0:
            raise ValueError(f"sharpness_low is not negative, but got {self.sharpness_low}")


def measure(tensor: NDArray[np.float32], geometry: Letterbox, buffers: Buffers | None = None) -> PictureMeasure:
    """Measure a picture as the network gets it, so that the size of the camera's picture costs nothing more.

    Args:
        tensor: (1, 3, height, width) float32 in 0..1, see `letterbox`.
        geometry: where the picture lies in it.
        buffers: what is computed on the way lies here; without them, in new arrays.
    """
    buffers = buffers or Buffers()
    rows, columns = geometry.shown(*tensor.shape[2:])
    height, width = rows.stop - rows.start, columns.stop - columns.start
    first, second, third = tensor[0, :, rows, columns]
    # The sum of the channels does not depend on their order, and the mean is a third of it.
    # The memory of the scaled picture, which is in the tensor now: it is in the processor's cache still.
    grey, edges = buffers.array("pictures", (2, height, width), np.float32)
    np.add(np.add(first, second, out=grey), third, out=grey)
    cv2.Laplacian(grey, cv2.CV_32F, dst=edges)
    (brightness, contrast), (_, sharpness) = _mean_and_variance(grey), _mean_and_variance(edges)
    return PictureMeasure(brightness * _TO_GREY, math.sqrt(contrast) * _TO_GREY, sharpness * _TO_GREY**2)


def pooled(measures: Sequence[PictureMeasure]) -> PictureMeasure:
    """The measure of a picture from those of its tiles, which have the same size: at the scale that the network sees.

    Brightness and contrast are those of all tiles' pixels together, and sharpness is the mean of the tiles', because a
    picture out of focus is so everywhere.
    """
    if len(measures) == 1:
        return measures[0]
    count = len(measures)
    brightness = sum(found.brightness for found in measures) / count
    squares = sum(found.contrast**2 + found.brightness**2 for found in measures) / count
    contrast = math.sqrt(max(0.0, squares - brightness**2))
    return PictureMeasure(brightness, contrast, sum(found.sharpness for found in measures) / count)


def _mean_and_variance(values: NDArray[np.float32]) -> tuple[float, float]:
    # As cv2.meanStdDev defines both, in double precision; it adds up one value after the other, these several at once.
    mean = cv2.sumElems(values)[0] / values.size  # type: ignore[index]  # four numbers; the stubs allow one
    return mean, max(0.0, cv2.norm(values, cv2.NORM_L2SQR) / values.size - mean * mean)


def derive(measures: Sequence[PictureMeasure]) -> PictureLimits | None:
    """The limits of a line, from pictures that are healthy; None for fewer than `MIN_PICTURES`.

    The margins are wide, because a healthy picture must not stop a line, and a camera that fails is far away:

    - brightness: from half of the 1st percentile, to half way between the 99th percentile and white;
    - contrast: from half of the 1st percentile;
    - sharpness, which is a variance: from a quarter of the 1st percentile.

    Limits are rounded outwards to hundredths, so that they do not depend on the last digits of a processor.
    """
    if len(measures) < MIN_PICTURES:
        return None
    brightness = [found.brightness for found in measures]
    low, high = np.percentile(brightness, [_LOW_PERCENTILE, _HIGH_PERCENTILE])
    contrast = np.percentile([found.contrast for found in measures], _LOW_PERCENTILE)
    sharpness = np.percentile([found.sharpness for found in measures], _LOW_PERCENTILE)
    return PictureLimits(
        brightness_low=_down(float(low) / 2),
        brightness_high=min(255.0, math.ceil((255.0 - (255.0 - float(high)) / 2) * 100) / 100),
        contrast_low=_down(float(contrast) / 2),
        sharpness_low=_down(float(sharpness) / 4),
        pictures=len(measures),
    )


def problem_of(found: PictureMeasure, limits: PictureLimits | None) -> PictureProblem | None:
    """Why a picture says nothing; None where it may be judged.

    Without limits, only a picture that shows one grey says nothing: black, white, or in between. Where the pictures of
    a line are all flatter than that, its limits say so.
    """
    if found.contrast < (FLAT if limits is None else min(FLAT, limits.contrast_low)):
        if found.brightness < _BLACK:
            return PictureProblem.DARK
        return PictureProblem.BRIGHT if found.brightness > _WHITE else PictureProblem.FLAT
    if limits is None:
        return None
    if found.brightness < limits.brightness_low:
        return PictureProblem.DARK
    if found.brightness > limits.brightness_high:
        return PictureProblem.BRIGHT
    if found.contrast < limits.contrast_low:
        return PictureProblem.FLAT
    if found.sharpness < limits.sharpness_low:
        return PictureProblem.BLURRED
    return None


def _down(value: float) -> float:
    return math.floor(value * 100) / 100
