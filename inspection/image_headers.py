"""What the header of an image says, read before anything is decoded. No pixels here.

Each format keeps its sides, pages, bits and orientation in another place. A header that ends too early raises
struct.error or IndexError, which `decode_image` turns into an ImageError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, Literal

ImageFormat = Literal["jpeg", "png", "bmp", "webp", "tiff"]
Reason = Literal["empty", "not-an-image", "truncated", "too-large", "animated", "unreadable"]

_MOST_PAGES: Final = 64  # of a TIFF that are looked at
_SUBFILE, _WIDTH, _HEIGHT, _BITS = 254, 256, 257, 258  # tags of a TIFF
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_ORIENTATION: Final = 0x0112
_EXIF: Final = b"Exif\x00\x00"
_SHORT: Final = 3  # a type of a TIFF's entries


class ImageError(ValueError):
    """The bytes are no usable image. `reason` is a fixed word for counting; the message is for people."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


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


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    height, width = struct.unpack_from(">HH", data, _jpeg_frame(data) + 5)
    return int(width), int(height)


def _jpeg_frame(data: bytes) -> int:
    # ITU-T T.81, B.2.2: a frame header (SOF0..SOF15 but DHT, JPG, DAC) carries height and width.
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            found = data.find(b"\xff", at)  # libjpeg passes over stray bytes between segments, too
            if found < 0:
                raise ImageError("unreadable", f"the jpeg has no marker at byte {at}")
            at = found
            continue
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
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2's header has sides of 16 bits
        width, height = struct.unpack_from("<HH", data, 18)
        return int(width), int(height)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(int(width)), abs(int(height))


def _bmp_bytes(data: bytes) -> int | None:
    """How long the file must be to hold its rows; None for a compressed one, which says it in its header only."""
    size = _bmp_size(data)
    is_old = struct.unpack_from("<I", data, 14)[0] == 12
    bits = int(struct.unpack_from("<H", data, 24 if is_old else 28)[0])
    if size is None or (not is_old and struct.unpack_from("<I", data, 30)[0] not in (0, 3)):
        return None
    return int(struct.unpack_from("<I", data, 10)[0]) + (size[0] * bits + 31) // 32 * 4 * size[1]


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
    (first, *_) = _tiff_pages(data, most=1)
    if _WIDTH not in first or _HEIGHT not in first:
        return None
    # A whole tile is decoded at once, also where it is larger than the picture.
    return max(first[_WIDTH], first.get(_TILE_WIDTH, 0)), max(first[_HEIGHT], first.get(_TILE_HEIGHT, 0))


def _tiff_pages(data: bytes, most: int = _MOST_PAGES) -> Iterator[dict[int, int]]:
    """The entries of each page that matter here: tag -> value; of bits a channel the highest. At least one page.

    A page after the first that does not lie in the data ends the list.
    """
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    for page in range(most):
        try:
            entries, following = _tiff_page(data, order, at)
        except struct.error:
            if page == 0:
                raise
            return
        yield entries
        if following == 0:
            return
        at = following


def _tiff_page(data: bytes, order: str, at: int) -> tuple[dict[int, int], int]:
    (count,) = struct.unpack_from(order + "H", data, at)
    found: dict[int, int] = {}
    for index in range(count):
        place = at + 2 + 12 * index
        tag, kind, values = struct.unpack_from(order + "HHI", data, place)
        if tag not in (_SUBFILE, _WIDTH, _HEIGHT, _BITS, _ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT):
            continue
        if tag in found and tag in (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT):
            # Readers differ in which one they take: one would be checked here, and room be made for the other.
            raise ImageError("unreadable", f"expected each size once in the tiff, but its entry {tag} is there twice")
        form = "H" if kind == _SHORT else "I"
        if tag == _BITS and values * struct.calcsize(order + form) > 4:
            (there,) = struct.unpack_from(order + "I", data, place + 8)
            several = data[there : there + 2 * min(values, 16)]
            found[tag] = max(
                struct.unpack(order + f"{len(several) // 2}H", several[: len(several) // 2 * 2]), default=0
            )
        else:
            found[tag] = int(struct.unpack_from(order + form, data, place + 8)[0])
    following = data[at + 2 + 12 * count : at + 6 + 12 * count]
    return found, int(struct.unpack(order + "I", following)[0]) if len(following) == 4 else 0


def webp_orientation(data: bytes) -> int:
    """The EXIF orientation (1 to 8) of a WebP; 1 if it says none. OpenCV reads it of the other formats only."""
    if data[12:16] != b"VP8X":
        return 1
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return _exif_orientation(data[at + 8 : at + 8 + length].removeprefix(_EXIF))
        at += 8 + length + length % 2
    return 1


def _exif_orientation(exif: bytes) -> int:
    if exif[:4] not in (b"II*\x00", b"MM\x00*"):
        return 1
    try:
        (first, *_) = _tiff_pages(exif, most=1)
    except struct.error:
        return 1
    return first[_ORIENTATION] if 1 <= first.get(_ORIENTATION, 1) <= 8 and _ORIENTATION in first else 1


def orientation_of(kind: ImageFormat, data: bytes) -> int:
    """The EXIF orientation (1 to 8) that a file says, for reports about it; 1 if it says none.

    `decode_image` turns the picture by it, in every format.
    """
    if kind == "webp":
        return webp_orientation(data)
    if kind == "tiff":
        return _exif_orientation(data)
    if kind == "png":
        return next((_exif_orientation(data[place]) for name, place in _png_places(data) if name == b"eXIf"), 1)
    return _jpeg_orientation(data) if kind == "jpeg" else 1


def _jpeg_orientation(data: bytes) -> int:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and 0xE0 <= data[at + 1] <= 0xEF:  # application segments come first
        length = struct.unpack_from(">H", data, at + 2)[0]
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == _EXIF:
            return _exif_orientation(data[at + 10 : at + 2 + length])
        at += 2 + length
    return 1


def bits_of_a_channel(kind: ImageFormat, data: bytes) -> int:
    """How many bits a channel has; 8 where the format has no more."""
    if kind == "png":
        return data[24]
    if kind == "tiff":
        (first, *_) = _tiff_pages(data, most=1)
        return first.get(_BITS, 1)
    return 8


HEADER_SIZE: Final[dict[ImageFormat, Callable[[bytes], tuple[int, int] | None]]] = {
    "jpeg": _jpeg_size,
    "png": _png_size,
    "bmp": _bmp_size,
    "webp": _webp_size,
    "tiff": _tiff_size,
}


def _png_chunks(data: bytes) -> Iterator[bytes]:
    return (kind for kind, _ in _png_places(data))


def _png_places(data: bytes) -> Iterator[tuple[bytes, slice]]:
    """The kind of each chunk, and where its content lies."""
    # OpenCV allocates what a chunk's length claims, 4 GB for a file of 200 bytes: each must lie inside the data.
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if at > len(data):
            return
        yield kind, slice(at - 4 - length, at - 4)
        if kind == b"IEND":
            return


def is_animated(kind: ImageFormat, data: bytes) -> bool:
    """Whether there are several pictures, so that it is unknown which one was labelled."""
    if kind == "png":
        return b"acTL" in _png_chunks(data)
    if kind == "webp":
        return data[12:16] == b"VP8X" and bool(data[20] & 0x02)
    if kind == "tiff":  # a smaller copy of the picture (bit 0 of the subfile's type) is no second picture
        return sum(1 for page in _tiff_pages(data) if not page.get(_SUBFILE, 0) & 1) > 1
    return False


def is_truncated(kind: ImageFormat, data: bytes) -> bool:
    """Whether the end of the file is missing, as far as its format tells."""
    # libjpeg fills what is missing with grey and libpng stops in the middle; both would pass as a picture.
    if kind == "jpeg":
        if data.endswith(b"\xff\xd9"):
            return False
        # Before the frame header, an end mark is that of a thumbnail; after it, other data may follow.
        return data.rfind(b"\xff\xd9") < _jpeg_frame(data)
    if kind == "png":
        return b"IEND" not in _png_chunks(data)
    if kind == "bmp":
        # Some writers put a wrong length in the header. The rows tell how long the file must be.
        said, needed = int(struct.unpack_from("<I", data, 2)[0]), _bmp_bytes(data)
        return len(data) < (said if needed is None else min(said, needed))
    if kind == "webp":
        return len(data) < 8 + int(struct.unpack_from("<I", data, 4)[0])
    return False
