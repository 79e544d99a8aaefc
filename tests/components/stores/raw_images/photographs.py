"""Small photographs for tests of the raw bucket."""

import io

import numpy as np
from PIL import Image


def jpeg(seed: int) -> bytes:
    """A JPEG of 32 x 24 pixels; another seed gives other bytes."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()
