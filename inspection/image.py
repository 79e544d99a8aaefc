"""Decodes images in the same way for labels, training, evaluation and the device.

The content decides the format, not the name. EXIF orientation is applied: width and height anywhere in this product
are those after orientation. The size is read from the header before anything is decoded.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import Final

# OpenCV has a limit of its own, in the environment; the limit that counts here is `max_pixels`.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 30))

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.image_headers import (
    HEADER_SIZE,
    ImageError,
    ImageFormat,
    Reason,
    bits_of_a_channel,
    image_format,
    is_animated,
    is_truncated,
    orientation_of,
    webp_orientation,
)

__all__ = [
    "EXTENSIONS", "MAX_PIXELS", "SHRINKS", "ImageError", "ImageFormat", "Picture", "Reason", "decode_image",
    "image_format", "image_size", "read_picture", "sha256_of",
]  # fmt: skip

MAX_PIXELS: Final = 100_000_000
_SEVERAL: Final = {"png": "an animated png", "webp": "an animated webp", "tiff": "a tiff of several pages"}
_SHRUNK: Final = {
    1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8
}  # fmt: skip
SHRINKS: Final = tuple(_SHRUNK)
"""By which parts of its sides a picture can be decoded."""
EXTENSIONS: Final[dict[ImageFormat, str]] = {"jpeg": "jpg", "png": "png", "bmp": "bmp", "webp": "webp", "tiff": "tif"}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The pixels of a picture, perhaps fewer than it has, and its full size.

    pixels: (h, w, 3) uint8, BGR. width, height: of the full picture, after EXIF orientation. Boxes on a picture are in
    pixels of the full one, however it was decoded.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ValueError(f"expected pixels of shape (h, w, 3), but got {shape}")
        if self.width < shape[1] or self.height < shape[0]:
            raise ValueError(f"expected at most {self.width} x {self.height} pixels, but got {shape[1]} x {shape[0]}")

    def shrunk(self, shrink: int) -> Picture:
        """A picture that was decoded in full, averaged to sides of this part: as `read_picture` reads what is no jpeg.

        A picture that has fewer pixels than its full size stays as it is.
        """
        if shrink == 1 or self.pixels.shape[:2] != (self.height, self.width):
            return self
        size = (-(-self.width // shrink), -(-self.height // shrink))
        pixels = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
        return Picture(np.asarray(pixels, dtype=np.uint8), self.width, self.height)


def sha256_of(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256: the identity of an image."""
    return hashlib.sha256(data).hexdigest()


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header, before EXIF orientation; None where the header does not tell.

    Raises:
        ImageError: the bytes are no image.
    """
    kind = image_format(data)
    try:
        return HEADER_SIZE[kind](data)
    except (struct.error, IndexError) as e:
        raise ImageError("truncated", f"the {kind} ends inside its header ({len(data)} bytes)") from e


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS, shrink: int = 1) -> NDArray[np.uint8]:
    """Decode an image to 8-bit BGR, with EXIF orientation applied. Grey, CMYK and alpha are converted.

    An image of more than 8 bits a channel is refused: a camera writes 10 or 12 bits into 16, the file does not say how
    many, and the upper 8 of 16 are then nearly black.

    Args:
        shrink: 1, 2, 4 or 8. A jpeg is decoded to sides of this part of its own, rounded up, in as much less memory;
            other formats keep their sides. What is inspected is read by `read_picture`.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        ImageError: the bytes are no usable image; bad bytes raise nothing else.
    """
    kind = image_format(data)
    try:
        _check_header(kind, data, max_pixels)
    except (struct.error, IndexError) as e:
        raise ImageError("truncated", f"the {kind} ends inside its header ({len(data)} bytes)") from e
    flags = _SHRUNK[shrink] if kind == "jpeg" else cv2.IMREAD_COLOR
    if kind == "webp":
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as e:
        raise ImageError("unreadable", f"the {kind} could not be decoded: {e}") from e
    if image is None:
        raise ImageError("unreadable", f"the {kind} could not be decoded ({len(data)} bytes)")
    if image.shape[0] * image.shape[1] > max_pixels:
        raise ImageError("too-large", f"expected at most {max_pixels} pixels, got {image.shape[1]} x {image.shape[0]}")
    if kind == "webp":
        image = _upright(np.asarray(image, dtype=np.uint8), webp_orientation(data))
    return np.ascontiguousarray(image, dtype=np.uint8)


def read_picture(data: bytes, *, shrink: int = 1, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode an image for inspection, training or evaluation, to sides of a part of its own, rounded up.

    libjpeg decodes a jpeg to 1/2, 1/4 or 1/8 directly, in a fraction of the time. Any other format is decoded in full,
    and the mean of each block of pixels is taken. The two differ by a few grey levels, at edges by more.

    Args:
        shrink: 1, 2, 4 or 8, as the release says.

    Raises:
        ImageError: as `decode_image`.
    """
    kind = image_format(data)
    if shrink == 1 or kind != "jpeg":
        image = decode_image(data, max_pixels=max_pixels)
        return Picture(image, image.shape[1], image.shape[0]).shrunk(shrink)
    image = decode_image(data, max_pixels=max_pixels, shrink=shrink)
    height, width = image.shape[:2]
    size = image_size(data) or (width * shrink, height * shrink)
    upright, turned = size, size[::-1]
    sides = tuple(-(-side // shrink) for side in size)
    if sides[0] == sides[1]:  # only the orientation tells whether the sides were swapped
        full = turned if orientation_of("jpeg", data) >= 5 else upright
    else:
        full = upright if (width, height) == sides else turned
    return Picture(image, max(full[0], width), max(full[1], height))


def _check_header(kind: ImageFormat, data: bytes, max_pixels: int) -> None:
    size = HEADER_SIZE[kind](data)
    if size is not None and size[0] * size[1] > max_pixels:
        raise ImageError("too-large", f"expected at most {max_pixels} pixels, got {size[0]} x {size[1]}")
    if is_animated(kind, data):
        raise ImageError("animated", f"expected one picture, got {_SEVERAL[kind]}")
    if is_truncated(kind, data):
        raise ImageError("truncated", f"the {kind} ends before its end mark ({len(data)} bytes)")
    bits = bits_of_a_channel(kind, data)
    if bits > 8:
        raise ImageError(
            "unreadable",
            f"expected 8 bits a channel, got a {kind} of {bits} bits; it does not say how many of them the camera "
            "uses, so convert it to 8 bits, or set the camera to 8 bits (Mono8)",
        )


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation, 1 to 8 (CIPA DC-008, 4.6.5.1.9): 2 to 4 keep the sides, 5 to 8 swap them."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
