"""Decodes images in the same way for labels, training, evaluation and the device.

The content decides the format, not the name. EXIF orientation is applied: width and height anywhere in this product
are those after orientation. The size is read from the header before anything is decoded.
"""

from __future__ import annotations

import hashlib
import os
import struct
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
    webp_orientation,
)

__all__ = [
    "EXTENSIONS", "MAX_PIXELS", "ImageError", "ImageFormat", "Reason", "decode_image", "image_format", "image_size",
    "sha256_of",
]  # fmt: skip

MAX_PIXELS: Final = 100_000_000
_SEVERAL: Final = {"png": "an animated png", "webp": "an animated webp", "tiff": "a tiff of several pages"}
_SHRUNK: Final = {
    1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8
}  # fmt: skip
EXTENSIONS: Final[dict[ImageFormat, str]] = {"jpeg": "jpg", "png": "png", "bmp": "bmp", "webp": "webp", "tiff": "tif"}


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
        shrink: 1, 2, 4 or 8. A jpeg is decoded to sides of this part of its own, in as much less memory. It is for
            showing a picture to people, never for inspection; other formats keep their sides.

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
