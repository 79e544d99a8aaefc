"""Decodes images in the same way for labels, training, evaluation and the device.

The content decides the format, not the name. EXIF orientation is applied: width and height anywhere in this product
are those after orientation. The size is read from the header before anything is decoded.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from typing import Final, Literal

# OpenCV has a limit of its own, in the environment; the limit that counts here is `max_pixels`.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 30))

import cv2
import numpy as np
from numpy.typing import NDArray

ImageFormat = Literal["jpeg", "png", "bmp", "webp", "tiff"]
Reason = Literal["empty", "not-an-image", "truncated", "too-large", "animated", "unreadable"]

MAX_PIXELS: Final = 100_000_000
EXTENSIONS: Final[dict[ImageFormat, str]] = {"jpeg": "jpg", "png": "png", "bmp": "bmp", "webp": "webp", "tiff": "tif"}


class ImageError(ValueError):
    """The bytes are no usable image. `reason` is a fixed word for counting; the message is for people."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def sha256_of(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256: the identity of an image."""
    return hashlib.sha256(data).hexdigest()


def image_format(data: bytes) -> ImageFormat:
    """The format of an image, by its first bytes.

    Raises:
        ImageError: the bytes are empty, or none of JPEG, PNG, BMP, WebP, TIFF.
    """
    if not data:
        raise ImageError("empty", "expected an image, got 0 bytes")
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:2] == b"BM":
        return "bmp"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return "tiff"
    raise ImageError(
        "not-an-image", f"expected JPEG, PNG, BMP, WebP or TIFF, got bytes that begin with {data[:8].hex()}"
    )


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image to 8-bit BGR, with EXIF orientation applied. Grey, 16-bit, CMYK and alpha are converted.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        ImageError: the bytes are no usable image; bad bytes raise nothing else.
    """
    kind = image_format(data)
    try:
        size = _HEADER_SIZE[kind](data)
    except (struct.error, IndexError) as e:
        raise ImageError("truncated", f"the {kind} ends inside its header ({len(data)} bytes)") from e
    if size is not None and size[0] * size[1] > max_pixels:
        raise ImageError("too-large", f"expected at most {max_pixels} pixels, got {size[0]} x {size[1]}")
    if _is_animated(kind, data):
        raise ImageError("animated", f"expected one picture, got an animated {kind}")
    if _is_truncated(kind, data):
        raise ImageError("truncated", f"the {kind} ends before its end mark ({len(data)} bytes)")
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as e:
        raise ImageError("unreadable", f"the {kind} could not be decoded: {e}") from e
    if image is None:
        raise ImageError("unreadable", f"the {kind} could not be decoded ({len(data)} bytes)")
    if image.shape[0] * image.shape[1] > max_pixels:
        raise ImageError("too-large", f"expected at most {max_pixels} pixels, got {image.shape[1]} x {image.shape[0]}")
    return np.ascontiguousarray(image, dtype=np.uint8)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    height, width = struct.unpack_from(">HH", data, _jpeg_frame(data) + 5)
    return int(width), int(height)


def _jpeg_frame(data: bytes) -> int:
    # ITU-T T.81, B.2.2: a frame header (SOF0..SOF15 but DHT, JPG, DAC) carries height and width.
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ImageError("unreadable", f"the jpeg has no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return at
        if marker in (0xD9, 0xDA):
            break
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise ImageError("truncated", f"the jpeg has no frame header in its {len(data)} bytes")


def _png_size(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", data, 16)
    return int(width), int(height)


def _bmp_size(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(int(width)), abs(int(height))


def _webp_size(data: bytes) -> tuple[int, int] | None:
    if data[12:16] == b"VP8X":
        struct.unpack_from("<4s", data, 26)  # all of the header is there, flags included
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return int(width) & 0x3FFF, int(height) & 0x3FFF


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, at)
    found: dict[int, int] = {}
    for index in range(entries):
        tag, kind = struct.unpack_from(order + "HH", data, at + 2 + 12 * index)
        if tag in (256, 257):
            found[tag] = int(struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 10 + 12 * index)[0])
    return (found[256], found[257]) if len(found) == 2 else None


_HEADER_SIZE: Final[dict[ImageFormat, Callable[[bytes], tuple[int, int] | None]]] = {
    "jpeg": _jpeg_size,
    "png": _png_size,
    "bmp": _bmp_size,
    "webp": _webp_size,
    "tiff": _tiff_size,
}


def _png_chunks(data: bytes) -> Iterator[bytes]:
    # OpenCV allocates what a chunk's length claims, 4 GB for a file of 200 bytes: each must lie inside the data.
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if at > len(data):
            return
        yield kind
        if kind == b"IEND":
            return


def _is_animated(kind: ImageFormat, data: bytes) -> bool:
    if kind == "png":
        return b"acTL" in _png_chunks(data)
    if kind == "webp":
        return data[12:16] == b"VP8X" and bool(data[20] & 0x02)
    return False


def _is_truncated(kind: ImageFormat, data: bytes) -> bool:
    # libjpeg fills what is missing with grey and libpng stops in the middle; both would pass as a picture.
    if kind == "jpeg":
        # Before the frame header, an end mark is that of a thumbnail; after it, other data may follow.
        return data.rfind(b"\xff\xd9") < _jpeg_frame(data)
    if kind == "png":
        return b"IEND" not in _png_chunks(data)
    if kind == "bmp":
        return len(data) < int(struct.unpack_from("<I", data, 2)[0])
    if kind == "webp":
        return len(data) < 8 + int(struct.unpack_from("<I", data, 4)[0])
    return False
