"""Letterbox: turns an image into the input of a network, and boxes of the network back into pixels of the image.

`tiles` does the same for a picture that is cut into several inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.buffers import Buffers
from inspection.codec import Part
from inspection.image import SHRINKS, Picture

Interpolation = Literal["linear", "area"]
ColourOrder = Literal["rgb", "bgr"]

_WHITE: Final = np.float32(255)
_INTERPOLATIONS: Final[dict[str, int]] = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles(Part):
    """How a picture is cut into overlapping tiles of the network's size, each of which is one input."""

    scale: float = 1.0
    """Pixels of a tile for each pixel of the full picture, above 0 and up to 1; 1: no pixel of the picture is lost."""
    overlap_px: int
    """What two neighbouring tiles share at least, in pixels of a tile. A defect that is no longer than this lies whole
    in one of them."""

    def __post_init__(self) -> None:
        if not 0.0 < self.scale <= 1.0:
            raise ValueError(f"the scale of tiles is above 0 and at most 1, but got {self.scale}")
        if self.overlap_px < 0:
            raise ValueError(f"overlap_px is not negative, but got {self.overlap_px}")


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an image becomes the input of the network; part of the release.

    width, height: pixels of the static input. pad_value: grey of the border, 0..255. shrink: by which part of its sides
    a picture is decoded, see `read_picture`. tiles: how it is cut; None: the whole picture is one input.
    """

    width: int
    height: int
    pad_value: int = 114
    interpolation: Interpolation = "linear"
    colour_order: ColourOrder = "rgb"
    shrink: int = 1
    tiles: Tiles | None = field(default=None, hash=False)  # a document's part keeps unknown keys in a mapping

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0 or self.width % 32 or self.height % 32:
            raise ValueError(f"input sides are positive multiples of 32, but got {self.width} x {self.height}")
        if not 0 <= self.pad_value <= 255:
            raise ValueError(f"pad_value lies in 0..255, but got {self.pad_value}")
        if self.interpolation not in _INTERPOLATIONS:
            raise ValueError(f"interpolation is one of {sorted(_INTERPOLATIONS)}, but got {self.interpolation!r}")
        if self.colour_order not in ("rgb", "bgr"):
            raise ValueError(f"colour_order is 'rgb' or 'bgr', but got {self.colour_order!r}")
        if self.shrink not in SHRINKS:
            raise ValueError(f"shrink is one of {list(SHRINKS)}, but got {self.shrink}")
        if self.tiles is not None:
            if 2 * self.tiles.overlap_px > min(self.width, self.height):
                raise ValueError(
                    f"tiles overlap by at most half of a side of {self.width} x {self.height}, but overlap_px is "
                    f"{self.tiles.overlap_px}"
                )
            if self.tiles.scale * self.shrink > 1.0:
                raise ValueError(
                    f"a picture that is decoded to 1/{self.shrink} has no tiles at the scale {self.tiles.scale}; "
                    f"the scale is at most {1 / self.shrink}"
                )


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where the image lies in the input.

    scale_x and scale_y: input pixels per image pixel, each computed from its own rounded side, since one common ratio
    would be wrong by up to half a pixel. pad_left and pad_top: input pixels; negative in a tile, whose picture begins
    outside of it.
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

    def shown(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and the columns of an input of this size in which the image lies."""
        bottom = self.pad_top + max(1, round(self.image_height * self.scale_y))
        right = self.pad_left + max(1, round(self.image_width * self.scale_x))
        return slice(max(0, self.pad_top), min(height, bottom)), slice(max(0, self.pad_left), min(width, right))

    def point_in_image(self, x: float, y: float) -> tuple[float, float]:
        """Convert one point in the same way."""
        return (x - self.pad_left) / self.scale_x, (y - self.pad_top) / self.scale_y


def letterbox(
    image: NDArray[np.uint8] | Picture, preprocess: Preprocess, buffers: Buffers | None = None
) -> tuple[NDArray[np.float32], Letterbox]:
    """Scale an image without distortion, centre it on a grey border, and normalise it.

    Args:
        image: (h, w, 3) uint8, BGR, not empty; of a `Picture`, the geometry is that of the full picture.
        buffers: where the result lies until the next image; without them it is a new array.

    Returns:
        (1, 3, height, width) float32 in 0..1, and the geometry. The border is split as Ultralytics' LetterBox splits
        it (round of half ± 0.1), so that the network gets the same input in use as in training.

    Raises:
        ValueError: the image has another shape.
    """
    picture = as_picture(image)
    width, height = picture.width, picture.height
    ratio = min(preprocess.height / height, preprocess.width / width)
    inner_width = max(1, round(width * ratio))
    inner_height = max(1, round(height * ratio))
    buffers = buffers or Buffers()
    resized = picture.pixels
    if resized.shape[:2] != (inner_height, inner_width):
        resized = buffers.array("pictures", (2, inner_height, inner_width, 3), np.uint8)[0]
        resize_into(picture.pixels, resized, preprocess)
    left = round((preprocess.width - inner_width) / 2 - 0.1)
    top = round((preprocess.height - inner_height) / 2 - 0.1)
    return to_tensor(resized, top, left, preprocess, buffers), Letterbox(
        scale_x=inner_width / width,
        scale_y=inner_height / height,
        pad_left=left,
        pad_top=top,
        image_width=width,
        image_height=height,
    )


def as_picture(image: NDArray[np.uint8] | Picture) -> Picture:
    """A picture as it is; an array of pixels as a picture that was decoded in full.

    Raises:
        ValueError: the array has another shape than (h, w, 3), or is empty.
    """
    if isinstance(image, Picture):
        return image
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"expected an image of shape (h, w, 3), but got {image.shape}")
    return Picture(image, image.shape[1], image.shape[0])


def resize_into(image: NDArray[np.uint8], out: NDArray[np.uint8], preprocess: Preprocess) -> None:
    """Write the image to `out` at the size that `out` has."""
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=_INTERPOLATIONS[preprocess.interpolation])


def to_tensor(
    image: NDArray[np.uint8], top: int, left: int, preprocess: Preprocess, buffers: Buffers
) -> NDArray[np.float32]:
    """An image as a network's input, with grey around it.

    Args:
        image: (h, w, 3) uint8, BGR, not larger than the input.
        top, left: where it lies in the input, in pixels.

    Returns:
        (1, 3, height, width) float32 in 0..1.
    """
    height, width = image.shape[:2]
    tensor = buffers.array("tensor", (1, 3, preprocess.height, preprocess.width), np.float32)
    _fill_border(tensor, top, left, height, width, np.float32(preprocess.pad_value) / _WHITE)
    # One plane at a time: a pass over whole pixels would read and write every third byte.
    planes = buffers.array("pictures", (2, height, width, 3), np.uint8)[1].reshape(3, height, width)
    cv2.split(image, list(planes[::-1] if preprocess.colour_order == "rgb" else planes))
    np.divide(planes, _WHITE, out=tensor[0, :, top : top + height, left : left + width], dtype=np.float32)
    return tensor


def _fill_border(
    tensor: NDArray[np.float32], top: int, left: int, inner_height: int, inner_width: int, value: np.float32
) -> None:
    tensor[..., :top, :] = value
    tensor[..., top + inner_height :, :] = value
    tensor[..., top : top + inner_height, :left] = value
    tensor[..., top : top + inner_height, left + inner_width :] = value
