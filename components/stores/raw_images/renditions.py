"""Renditions: PNG copies of images that no browser shows, for people to look at. An image stays what it is.

A rendition is upright and has the size of its image, so boxes on it are boxes on the image. Its key follows from the
image's sha256. It is made when an image is imported. Nothing is trained on it, and no device sends one.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.stores.objects.s3 import parse_uri
from inspection.image import EXTENSIONS, ImageFormat
from inspection.paths import parse_raw_key

NOT_SHOWN: Final[frozenset[ImageFormat]] = frozenset({"tiff"})
"""Formats that no common browser shows."""
_EXTENSIONS: Final = frozenset(EXTENSIONS[kind] for kind in NOT_SHOWN)


def rendition_key(sha256: str) -> str:
    """The key of an image's rendition in the raw bucket. It is no key of a device, so no scan takes it for an image."""
    return f"renditions/{sha256}.png"


def shown_uri(uri: str) -> str:
    """What people are shown for a raw image: its rendition if no browser shows it, else the image."""
    bucket, key = parse_uri(uri)
    parsed = parse_raw_key(key)
    if parsed is None or key.rpartition(".")[2] not in _EXTENSIONS:
        return uri
    return f"s3://{bucket}/{rendition_key(parsed.sha256)}"


def render(image: NDArray[np.uint8]) -> bytes:
    """The PNG of a decoded image, (height, width, 3) uint8 BGR."""
    return cv2.imencode(".png", image)[1].tobytes()
