"""Photographs for imports and exports."""

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48


def photograph(seed: int) -> bytes:
    """A small JPEG that is another one for another seed."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()
