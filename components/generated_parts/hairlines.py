"""Another line of metal tags: smoother plates, with scratches as fine, bright and often broken lines.

`scene` draws broad scratches with a burr among many harmless marks. Base weights from generated parts should know both
kinds. Hairlines are from a finger's width to the plate's height long, lie in any direction, cross each other, come in
bundles, and end in traces that are too faint to be called a defect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.generated_parts.scene import (
    HOLE_CENTRE_PX,
    HOLE_RADIUS_PX,
    PLATE_HEIGHT_PX,
    PLATE_WIDTH_PX,
    SUPERSAMPLING,
    Layer,
    PlateSurface,
    add_dust,
    add_lint,
    add_wipe_marks,
    blank,
    brushed_metal,
    plate_cover,
    stroke,
    wander,
)

_GLINT = 1.7
"""Brightness of a hairline's brightest point, as a multiple of a full scratch with a burr."""
_MARGIN_PX = 6
_FAINT = (0.04, 0.18)
"""Lowest and highest strength of a trace that is not labelled as a scratch."""


def make_hairline_surface(rng: np.random.Generator, *, defective: bool) -> PlateSurface:
    """Draw one part, as `scene.make_surface` does. The same generator state gives the same part."""
    brightness = brushed_metal(rng)
    if rng.random() < 0.4:
        add_wipe_marks(brightness, rng)
    add_lint(brightness, rng)
    add_dust(brightness, rng)
    core = blank()
    for _ in range(int(rng.integers(0, 5))):
        _trace(core, _path(rng, rng.uniform(15, 120)), rng.uniform(*_FAINT), rng)
    scratches: list[Layer] = []
    if defective:
        for _ in range(int(rng.choice([1, 2, 3, 4, 5], p=[0.28, 0.34, 0.2, 0.12, 0.06]))):
            scratches.append(_bundle(core, rng) if rng.random() < 0.18 else _hairline(core, rng))
    return PlateSurface(brightness, plate_cover(), core * np.float32(_GLINT), blank(), tuple(scratches))


def _path(rng: np.random.Generator, length_px: float) -> NDArray[np.float64]:
    """A path, (n, 2) x and y on the supersampled canvas, inside the plate and clear of the hole."""
    size = np.array([PLATE_WIDTH_PX, PLATE_HEIGHT_PX]) * SUPERSAMPLING
    margin = _MARGIN_PX * SUPERSAMPLING
    hole = np.array(HOLE_CENTRE_PX) * SUPERSAMPLING
    while True:  # ends, because a shorter path finds room at last
        path = wander(rng, rng.uniform(margin, size - margin), length_px, 0.02)
        inside = bool((path > margin).all() and (path < size - margin).all())
        if inside and float(np.hypot(*(path - hole).T).min()) > 1.5 * HOLE_RADIUS_PX * SUPERSAMPLING:
            return path
        length_px *= 0.97


def _hairline(core: Layer, rng: np.random.Generator) -> Layer:
    """Draw one line and its faint ends; returns the mask of what is labelled as a scratch."""
    length_px = float(np.exp(rng.uniform(np.log(26), np.log(190))))
    path = _path(rng, length_px)
    thickness = int(rng.integers(2, 6))
    _glitter(core, path, rng.uniform(0.5, 1.0), thickness, rng)
    if rng.random() < 0.4:  # it fades out
        _trace(core, _onward(path, rng.uniform(8, 40), rng), rng.uniform(*_FAINT), rng)
    return stroke(path, np.ones(len(path)), thickness)


def _bundle(core: Layer, rng: np.random.Generator) -> Layer:
    """Draw several lines side by side, which people label as one scratch; returns its mask."""
    path = _path(rng, rng.uniform(25, 100))
    mask = blank()
    for _ in range(int(rng.integers(2, 6))):
        beside = path + rng.normal(0, 5 * SUPERSAMPLING, 2)
        first, last = sorted(rng.choice(len(path), 2, replace=False))
        if last - first < 3:
            first, last = 0, len(path)
        thickness = int(rng.integers(2, 4))
        _glitter(core, beside[first:last], rng.uniform(0.35, 0.95), thickness, rng)
        np.maximum(mask, stroke(beside[first:last], np.ones(last - first), thickness), out=mask)
    return mask


def _glitter(core: Layer, path: NDArray[np.float64], strength: float, thickness: int, rng: np.random.Generator) -> None:
    """A line that breaks into glints: whole, dashed or dotted."""
    count = len(path)
    rough = np.convolve(rng.standard_normal(count + 2), np.ones(3) / 3, "valid") * 1.7
    breaks = rng.uniform(-1.6, 0.6)  # from hardly broken to mostly gaps
    levels = strength * np.where(rough > breaks, 1.0, rng.uniform(0.05, 0.5)) * rng.uniform(0.8, 1.0, count)
    np.maximum(core, stroke(path, levels, thickness), out=core)


def _trace(core: Layer, path: NDArray[np.float64], strength: float, rng: np.random.Generator) -> None:
    np.maximum(core, stroke(path, np.full(len(path), strength), int(rng.integers(2, 5))), out=core)


def _onward(path: NDArray[np.float64], length_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The continuation of the line beyond its last point, or beyond its first."""
    ends = path[::-1] if rng.random() < 0.5 else path
    step = ends[-1] - ends[-2]
    count = max(int(length_px * SUPERSAMPLING / max(float(np.hypot(*step)), 1e-6)), 2)
    return np.asarray(ends[-1] + np.cumsum(step + rng.normal(0, 0.6, (count, 2)), axis=0), np.float64)
