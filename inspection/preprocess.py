"""Letterbox: turns an image into the input of a network, and boxes of the network back into pixels of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.buffers import Buffers

Interpolation = Literal["linear", "area"]
ColourOrder = Literal["rgb", "bgr"]

_WHITE: Final = np.float32(255)
_INTERPOLATIONS: Final[dict[str, int]] = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an image becomes the input of the network; part of the release.

    width, height: pixels of the static input. pad_value: grey of the border, 0..255.
    """

    width: int
    height: int
    pad_value: int = 114
    interpolation: Interpolation = "linear"
    colour_order: ColourOrder = "rgb"

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0 or self.width % 32 or self.height % 32:
            raise ValueError(f"input sides are positive multiples of 32, but got {self.width} x {self.height}")
        if not 0 <= self.pad_value <= 255:
            raise ValueError(f"pad_value lies in 0..255, but got {self.pad_value}")
        if self.interpolation not in _INTERPOLATIONS:
            raise ValueError(f"interpolation is one of {sorted(_INTERPOLATIONS)}, but got {self.interpolation!r}")
        if self.colour_order not in ("rgb", "bgr"):
            raise ValueError(f"colour_order is 'rgb' or 'bgr', but got {self.colour_order!r}")


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where the image lies in the input.

    scale_x and scale_y: input pixels per image pixel, each computed from its own rounded side, since one common ratio
    would be wrong by up to half a pixel. pad_left and pad_top: input pixels.
    """

    scale_x: float
    scale_y: float
    pad_left: int
    pad_top: int
    image_width: int
    image_height: int

    def to_image(self, xyxy: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Convert boxes, (n, 4) xyxy, from pixels of the input to pixels of the image; not clipped."""
        offset = np.array([self.pad_left, self.pad_top, self.pad_left, self.pad_top], dtype=np.float64)
        scale = np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], dtype=np.float64)
        result: NDArray[np.float64] = (np.asarray(xyxy, dtype=np.float64).reshape(-1, 4) - offset) / scale
        return result

    def point_in_image(self, x: float, y: float) -> tuple[float, float]:
        """Convert one point in the same way."""
        return (x - self.pad_left) / self.scale_x, (y - self.pad_top) / self.scale_y


def letterbox(
    image: NDArray[np.uint8], preprocess: Preprocess, buffers: Buffers | None = None
) -> tuple[NDArray[np.float32], Letterbox]:
    """Scale an image without distortion, centre it on a grey border, and normalise it.

    Args:
        image: (h, w, 3) uint8, BGR, not empty.
        buffers: where the result lies until the next image; without them it is a new array.

    Returns:
        (1, 3, height, width) float32 in 0..1, and the geometry. The border is split as Ultralytics' LetterBox splits
        it (round of half ± 0.1), so that the network gets the same input in use as in training.

    Raises:
        ValueError: the image has another shape.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"expected an image of shape (h, w, 3), but got {image.shape}")
    height, width = image.shape[:2]
    ratio = min(preprocess.height / height, preprocess.width / width)
    inner_width = max(1, round(width * ratio))
    inner_height = max(1, round(height * ratio))
    buffers = buffers or Buffers()
    first, second = buffers.array("pictures", (2, inner_height, inner_width, 3), np.uint8)
    resized = image
    if (inner_width, inner_height) != (width, height):
        interpolation = _INTERPOLATIONS[preprocess.interpolation]
        cv2.resize(image, (inner_width, inner_height), dst=first, interpolation=interpolation)
        resized = first
    left = round((preprocess.width - inner_width) / 2 - 0.1)
    top = round((preprocess.height - inner_height) / 2 - 0.1)
    tensor = buffers.array("tensor", (1, 3, preprocess.height, preprocess.width), np.float32)
    _fill_border(tensor, top, left, inner_height, inner_width, np.float32(preprocess.pad_value) / _WHITE)
    # One plane at a time: a pass over whole pixels would read and write every third byte.
    planes = second.reshape(3, inner_height, inner_width)
    cv2.split(resized, list(planes[::-1] if preprocess.colour_order == "rgb" else planes))
    inner = tensor[0, :, top : top + inner_height, left : left + inner_width]
    np.divide(planes, _WHITE, out=inner, dtype=np.float32)
    return tensor, Letterbox(
        scale_x=inner_width / width,
        scale_y=inner_height / height,
        pad_left=left,
        pad_top=top,
        image_width=width,
        image_height=height,
    )


def _fill_border(
    tensor: NDArray[np.float32], top: int, left: int, inner_height: int, inner_width: int, value: np.float32
) -> None:
    tensor[..., :top, :] = value
    tensor[..., top + inner_height :, :] = value
    tensor[..., top : top + inner_height, :left] = value
    tensor[..., top : top + inner_height, left + inner_width :] = value
