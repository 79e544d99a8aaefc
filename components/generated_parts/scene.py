"""The surface of a metal tag, drawn in coordinates of the part.

All that belongs to the part (brushing, stamp, dust, wipe marks, drops, scratches) is drawn here, once for each part.
All that belongs to one photograph (pose, light, glare, noise) is in `photographs`. The canvas is `SUPERSAMPLING` times
finer than the photograph, so that thin lines keep sub-pixel accuracy when the part is posed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SUPERSAMPLING = 2
PLATE_WIDTH_PX = 352
"""Width of the plate in a photograph taken straight on at the nominal distance, 450 pixels wide."""
PLATE_HEIGHT_PX = 220
HOLE_CENTRE_PX = (20.0, 20.0)
HOLE_RADIUS_PX = 8.5
_CORNER_RADIUS_PX = 6
_STAMP_ALPHABET = "ABCDEFHKLMNPRTUVX0123456789"

Layer = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PlateSurface:
    """The surface of one part on the supersampled canvas, all layers (height, width) float32.

    `brightness` is the bare plate with its harmless marks, 0..255. `cover` is 1 on metal and 0 beyond the edge and in
    the hole. `core` and `trough` say how much a scratch brightens or darkens a point, 0..1; they are apart from
    `brightness` because a scratch catches the light differently in each photograph. `scratches` holds one mask a
    scratch, 0..1, of where it can be seen: the boxes come from these.
    """

    brightness: Layer
    cover: Layer
    core: Layer
    trough: Layer
    scratches: tuple[Layer, ...]


def make_surface(rng: np.random.Generator, *, defective: bool) -> PlateSurface:
    """Draw one part. The same generator state gives the same part.

    A part that is not `defective` has the same harmless marks and no scratch.
    """
    # Harmless marks come first and from one distribution, so that only scratches tell a defective part from a good one.
    brightness = brushed_metal(rng)
    _add_brush_lines(brightness, rng)
    add_wipe_marks(brightness, rng)
    _add_dried_drops(brightness, rng)
    _add_stamp(brightness, rng)
    add_lint(brightness, rng)
    add_dust(brightness, rng)
    core, trough = blank(), blank()
    scratches: list[Layer] = []
    if defective:
        for path in _scratch_paths(rng):
            mask = _draw_scratch(path, core, trough, rng)
            scratches.append(mask)
    return PlateSurface(brightness, plate_cover(), core, trough, tuple(scratches))


def blank() -> Layer:
    """An empty layer of the plate's canvas."""
    return np.zeros((PLATE_HEIGHT_PX * SUPERSAMPLING, PLATE_WIDTH_PX * SUPERSAMPLING), np.float32)


def plate_cover() -> Layer:
    """The mask of the plate: 1 on metal, 0 beyond the edge and in the hole."""
    cover = np.zeros((PLATE_HEIGHT_PX * SUPERSAMPLING, PLATE_WIDTH_PX * SUPERSAMPLING), np.uint8)
    height, width = cover.shape
    r = _CORNER_RADIUS_PX * SUPERSAMPLING
    cv2.rectangle(cover, (r, 0), (width - 1 - r, height - 1), 255, -1)
    cv2.rectangle(cover, (0, r), (width - 1, height - 1 - r), 255, -1)
    for corner in ((r, r), (width - 1 - r, r), (r, height - 1 - r), (width - 1 - r, height - 1 - r)):
        cv2.circle(cover, corner, r, 255, -1, cv2.LINE_AA)
    x, y = (round(c * SUPERSAMPLING) for c in HOLE_CENTRE_PX)
    cv2.circle(cover, (x, y), round(HOLE_RADIUS_PX * SUPERSAMPLING), 0, -1, cv2.LINE_AA)
    return np.asarray(cover / np.float32(255), np.float32)


def brushed_metal(rng: np.random.Generator) -> Layer:
    """The bare plate, 0..255."""
    plate = blank()
    height, width = plate.shape
    noise = rng.standard_normal((height, width), np.float32)
    plate += np.asarray(cv2.blur(noise, (121, 1)), np.float32) * 22
    plate += np.asarray(cv2.blur(noise[::-1], (31, 3)), np.float32) * 10
    # Patina: the plate is not evenly grey, so that no single threshold fits all of it.
    patina = cv2.resize(rng.standard_normal((4, 6), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    plate += patina * float(rng.uniform(2, 7)) + float(rng.uniform(62, 92))
    return plate


def _add_brush_lines(plate: Layer, rng: np.random.Generator) -> None:
    """Straight, thin lines along the brushing: bright, long, and harmless."""
    height, width = plate.shape
    for _ in range(int(rng.integers(2, 6))):
        length = rng.uniform(50, 200) * SUPERSAMPLING
        x = rng.uniform(0, width - length)
        y = rng.uniform(0.04, 0.96) * height
        slope = rng.normal(0, 0.006)
        steps = np.linspace(0, 1, 24)
        points = np.stack([x + steps * length, y + steps * length * slope], axis=1)
        strength = rng.uniform(30, 95) * (0.65 + 0.35 * np.sin(np.pi * steps))
        layer = stroke(points, strength / 255, int(rng.integers(2, 5)))
        plate += layer * 255


def add_wipe_marks(plate: Layer, rng: np.random.Generator) -> None:
    """Broad, dull, soft bands left by a cloth, and blotches left by a finger."""
    height, width = plate.shape
    for _ in range(int(rng.integers(1, 4))):
        centre = rng.uniform([0.1, 0.1], [0.9, 0.9]) * (width, height)
        radius = rng.uniform(40, 150) * SUPERSAMPLING
        start = rng.uniform(0, 2 * np.pi)
        angles = start + np.linspace(0, rng.uniform(0.4, 1.1), 24)
        # The arc passes through `centre`, whatever its radius.
        pivot = centre - radius * np.array([np.cos(start), np.sin(start)])
        points = pivot + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        band = stroke(points, np.full(24, 1.0), int(rng.integers(6, 15)) * SUPERSAMPLING)
        band = np.asarray(cv2.GaussianBlur(band, (0, 0), rng.uniform(2.5, 4.5) * SUPERSAMPLING), np.float32)
        plate += band * float(rng.uniform(18, 75))
    for _ in range(int(rng.integers(0, 3))):
        axes = rng.uniform(6, 18, 2) * SUPERSAMPLING
        centre = rng.uniform([0.1, 0.1], [0.9, 0.9]) * (width, height)
        blotch = np.zeros(plate.shape, np.uint8)
        cv2.ellipse(blotch, _pixel(centre), _pixel(axes), rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
        soft = cv2.GaussianBlur(blotch.astype(np.float32) / 255, (0, 0), 3.0 * SUPERSAMPLING)
        plate += soft * float(rng.uniform(-22, 40))


def _add_dried_drops(plate: Layer, rng: np.random.Generator) -> None:
    """Rings of dried coolant: a closed, round, bright outline."""
    height, width = plate.shape
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(6, 15) * SUPERSAMPLING
        centre = rng.uniform([0.06, 0.08], [0.94, 0.92]) * (width, height)
        angles = np.linspace(0, 2 * np.pi, 40)
        wobble = 1 + 0.05 * np.sin(angles * 3 + rng.uniform(0, 6))
        stretch = rng.uniform(0.8, 1.0)
        points = centre + radius * np.stack([np.cos(angles) * wobble, np.sin(angles) * wobble * stretch], axis=1)
        strength = rng.uniform(45, 115) * (0.7 + 0.3 * np.sin(angles + rng.uniform(0, 6)))
        plate += stroke(points, strength / 255, int(rng.integers(2, 5))) * 255


def _add_stamp(plate: Layer, rng: np.random.Generator) -> None:
    """The serial number, struck into the metal: bright strokes with a shadow."""
    text = "".join(_STAMP_ALPHABET[i] for i in rng.integers(0, len(_STAMP_ALPHABET), int(rng.integers(4, 8))))
    size = rng.uniform(0.5, 0.62) * SUPERSAMPLING
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, SUPERSAMPLING)
    height, width = plate.shape
    x = round(rng.uniform(0.15, 0.85) * (width - text_width))
    y = round(height * (0.92 if rng.random() < 0.5 else 0.12) + text_height / 2)
    strokes = np.zeros(plate.shape, np.uint8)
    cv2.putText(strokes, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, 255, SUPERSAMPLING, cv2.LINE_AA)
    struck = strokes.astype(np.float32) / 255
    shadow = np.roll(struck, (SUPERSAMPLING, SUPERSAMPLING), (0, 1))
    plate -= shadow * 22
    plate += struck * float(rng.uniform(80, 140))


def add_lint(plate: Layer, rng: np.random.Generator) -> None:
    """Threads of a cloth, lying on the metal: as thin and bright as a scratch, but curled and without a burr."""
    height, width = plate.shape
    for _ in range(int(rng.integers(0, 3))):
        start = rng.uniform([0.12, 0.15], [0.88, 0.85]) * (width, height)
        step = 1.5 * SUPERSAMPLING
        count = int(rng.uniform(30, 60) * SUPERSAMPLING / step)
        curl = rng.choice([-1, 1]) * rng.uniform(0.14, 0.22)
        swing = 0.12 * np.sin(np.linspace(0, rng.uniform(3, 9), count) + rng.uniform(0, 6))
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(curl + swing)
        points = start + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * step, axis=0)
        plate += stroke(points, np.full(count, rng.uniform(30, 80) / 255), 3) * 255


def add_dust(plate: Layer, rng: np.random.Generator) -> None:
    """Specks, and a fibre or two."""
    height, width = plate.shape
    specks = np.zeros(plate.shape, np.uint8)
    for _ in range(int(rng.integers(15, 50))):
        centre = rng.uniform([0, 0], [width, height])
        cv2.circle(specks, _pixel(centre), int(rng.integers(1, 4)), int(rng.integers(20, 130)), -1, cv2.LINE_AA)
    # A fibre or two: dark, thin, curled.
    fibres = blank()
    for _ in range(int(rng.integers(0, 3))):
        points = wander(rng, rng.uniform([0.1, 0.1], [0.9, 0.9]) * (width, height), rng.uniform(20, 60), 0.2)
        fibres += stroke(points, np.full(len(points), rng.uniform(0.12, 0.2)), int(rng.integers(2, 5)))
    plate += specks.astype(np.float32) - fibres * 255


def _scratch_paths(rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """One to three paths, each (n, 2) x and y on the supersampled canvas, well inside the plate and apart."""
    height, width = PLATE_HEIGHT_PX * SUPERSAMPLING, PLATE_WIDTH_PX * SUPERSAMPLING
    wanted = int(rng.choice([1, 2, 3], p=[0.6, 0.32, 0.08]))
    margin = 12 * SUPERSAMPLING
    paths: list[NDArray[np.float64]] = []
    bounds: list[NDArray[np.float64]] = []
    # Bounded: a third scratch may find no room and is left out; the first always finds some.
    for _ in range(200):
        if len(paths) == wanted:
            break
        start = rng.uniform([margin, margin], [width - margin, height - margin])
        path = wander(rng, start, rng.uniform(55, 130), 0.035)
        low, high = path.min(axis=0), path.max(axis=0)
        inside = bool((low > margin).all() and high[0] < width - margin and high[1] < height - margin)
        hole = np.array(HOLE_CENTRE_PX) * SUPERSAMPLING
        clear = bool(np.hypot(*(path - hole).T).min() > 2 * HOLE_RADIUS_PX * SUPERSAMPLING)
        # A box a few pixels high cannot be hit within a labeler's hand: no strokes along an axis.
        roomy = bool((high - low).min() > 20 * SUPERSAMPLING)
        gap = 8 * SUPERSAMPLING
        apart = all((low > b[1] + gap).any() or (high < b[0] - gap).any() for b in bounds)
        if inside and clear and roomy and apart:
            paths.append(path)
            bounds.append(np.stack([low, high]))
    return paths


def _draw_scratch(path: NDArray[np.float64], core: Layer, trough: Layer, rng: np.random.Generator) -> Layer:
    """Draw one scratch into `core` and `trough` and return the mask of where it can be seen, 0..1."""
    count = len(path)
    taper = np.clip(np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.08 * count), 0.6, 1)
    # A burr glitters: the bright line breaks into pieces, so that joined pixels are no longer one scratch.
    glitter = np.clip(1 + 0.5 * np.convolve(rng.standard_normal(count + 2), np.ones(3) / 2, "valid"), 0.25, 1.3)
    depth = rng.uniform(0.75, 1.0)
    thickness = int(rng.integers(6, 9))
    mask = stroke(path, taper, thickness)
    np.maximum(core, stroke(path, np.clip(depth * taper * glitter, 0, 1), thickness), out=core)
    side = np.array([np.cos(a := rng.uniform(0, 2 * np.pi)), np.sin(a)]) * 2.4 * SUPERSAMPLING
    for sign in (1, -1):
        np.maximum(trough, stroke(path + sign * side, depth * taper, thickness), out=trough)
    if rng.random() < 0.35:
        # A second pass of the same tool beside the first: part of the same scratch.
        offset = rng.normal(0, 1, 2)
        offset *= rng.uniform(3, 5) * SUPERSAMPLING / max(float(np.hypot(*offset)), 1e-6)
        first, last = sorted(rng.choice(count, 2, replace=False))
        if last - first > count // 4:
            beside = path[first:last] + offset
            np.maximum(core, stroke(beside, (0.7 * taper * glitter)[first:last].clip(0, 1), 3), out=core)
            np.maximum(mask, stroke(beside, taper[first:last], 3), out=mask)
    return mask


def wander(rng: np.random.Generator, start: NDArray[np.float64], length_px: float, turn: float) -> NDArray[np.float64]:
    """A path from `start` that keeps its direction but for small random turns; `length_px` in photograph pixels."""
    step = 2.0 * SUPERSAMPLING
    count = max(int(length_px * SUPERSAMPLING / step), 4)
    bend = rng.normal(0, 0.006)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(bend, turn, count))
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * step
    return np.asarray(start + np.cumsum(steps, axis=0), np.float64)


def stroke(points: NDArray[np.float64], strength: NDArray[np.float64], thickness: int) -> Layer:
    """Draw a path whose strength (0..1, one a point) varies along it."""
    layer = np.zeros((PLATE_HEIGHT_PX * SUPERSAMPLING, PLATE_WIDTH_PX * SUPERSAMPLING), np.uint8)
    fixed = np.round(points * 16).astype(np.int64)
    levels = np.clip(np.round(strength * 255), 0, 255).astype(int)
    for (x0, y0), (x1, y1), level in zip(fixed[:-1].tolist(), fixed[1:].tolist(), levels.tolist(), strict=False):
        cv2.line(layer, (x0, y0), (x1, y1), level, thickness, cv2.LINE_AA, shift=4)
    return np.asarray(layer / np.float32(255), np.float32)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
