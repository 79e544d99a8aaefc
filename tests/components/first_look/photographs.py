"""Photographs of a new product, small and drawn at random, and findings without any."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from components.first_look.findings import Findings, FoundLabels


def photograph(seed, *, width=96, height=64, grey=False, orientation=None):
    """A JPEG of blurred noise, another one for another seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (8, 12) if grey else (8, 12, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    options = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(stream, "JPEG", quality=92, **options)
    return stream.getvalue()


def folder_of(folder: Path, count, **more):
    """A folder with so many photographs, 000.jpg and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(photograph(number, **more))
    return folder


def findings(**changes):
    """Findings of 200 usable pictures of 640 x 480 without labels."""
    usual = Findings(
        files=200, looked=200, usable=200, width=640, height=480, sizes={}, formats={"jpeg": 200}, turned=0, grey=0,
        brightness=(90.0, 100.0, 110.0), sharpness=(40.0, 50.0, 60.0), parts=0, repeated=0, alike=(),
    )  # fmt: skip
    return replace(usual, **changes)


def labels(*, side=0.0625, defective=100, good=100, classes=("scratch",), boxes=150):
    """Labels whose boxes have one side, as a share of the picture's longer side."""
    return FoundLabels("boxes.csv", "boxes", classes, defective, good, (side,) * (boxes if defective else 0))
