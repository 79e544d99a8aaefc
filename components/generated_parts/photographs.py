"""Generated photographs of metal tags on a production line, with exact boxes, to try the product on.

A part (`LineGenerator.part`) is photographed several times: the marks on the part stay, while pose, light, glare and
noise differ. The same seed and index give the same bytes, and each part can be generated on its own. Scratches are the
only defect, unless another kind is asked for. Brush lines, dust, stamp, drops, wipe marks and glare are as bright and
harmless, so that a threshold on brightness cannot inspect these parts (a test checks that).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from components.generated_parts.hairlines import make_hairline_surface
from components.generated_parts.other_defects import OtherDefect, with_defect
from components.generated_parts.scene import (
    PLATE_HEIGHT_PX,
    PLATE_WIDTH_PX,
    SUPERSAMPLING,
    Layer,
    PlateSurface,
    make_surface,
)
from inspection.geometry import Box, LabelledBox

CLASS_NAME = "scratch"
Scratches = Literal["burr", "hairline"]
_NOMINAL_WIDTH = 450
_NOMINAL_HEIGHT = 300
_VISIBLE = 0.3
"""A point belongs to a scratch if it has at least this share of the scratch's full strength in the photograph."""
_GLEAM = (95.0, 140.0)
"""Brightness that a full scratch adds, 0..255, lowest and highest over the photographs."""
_TROUGH_DEPTH = 0.6
"""Share of the brightness that is lost at the edges of a full scratch."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph of one part. `boxes` in pixels of the image; empty for a good part."""

    name: str
    part_id: str
    jpeg: bytes
    boxes: tuple[LabelledBox, ...]

    @property
    def defective(self) -> bool:
        """Whether the photograph shows a scratch."""
        return bool(self.boxes)


@dataclass(frozen=True, slots=True)
class LineGenerator:
    """A line of metal tags.

    Args:
        seed: of the line; lines with different seeds share no part.
        defect_rate: probability that a part has scratches, 0..1.
        photographs_per_part: at least 1.
        width, height: of the photographs in pixels; the scene is scaled to fit.
        jpeg_quality: 1..100.
        lamp: brightness of the light, as a share of that of a new lamp, above 0 and up to 1. The parts and the boxes
            are those of a new lamp.
        blur: additional blur of the lens, the standard deviation in pixels at the nominal size; 0: none.
        scratches: `burr`, broad and among many harmless marks, or `hairline`, fine lines on smoother plates.
        other_defect: what defective parts carry instead of scratches, see `other_defects`. The good parts are the same.
    """

    seed: int
    defect_rate: float = 0.5
    photographs_per_part: int = 3
    width: int = _NOMINAL_WIDTH
    height: int = _NOMINAL_HEIGHT
    jpeg_quality: int = 90
    scratches: Scratches = "burr"
    lamp: float = 1.0
    blur: float = 0.0
    other_defect: OtherDefect | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        if not 0.0 <= self.defect_rate <= 1.0:
            raise ValueError(f"defect_rate must be within 0..1, got {self.defect_rate}")
        if self.photographs_per_part < 1:
            raise ValueError(f"photographs_per_part must be at least 1, got {self.photographs_per_part}")
        if self.width < 64 or self.height < 64:
            raise ValueError(f"photographs must be at least 64x64 pixels, got {self.width}x{self.height}")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must be within 1..100, got {self.jpeg_quality}")
        if not 0.0 < self.lamp <= 1.0:
            raise ValueError(f"lamp must be above 0 and at most 1, got {self.lamp}")
        if self.blur < 0.0:
            raise ValueError(f"blur must be 0 or more, got {self.blur}")

    def part(self, index: int) -> tuple[Photograph, ...]:
        """All photographs of part `index` (0 or more), independent of every other part."""
        if index < 0:
            raise ValueError(f"the index of a part must be 0 or more, got {index}")
        rng = np.random.default_rng([self.seed, index])
        draw = make_surface if self.scratches == "burr" else make_hairline_surface
        defective = bool(rng.random() < self.defect_rate)
        surface = draw(rng, defective=defective and self.other_defect is None)
        if defective and self.other_defect is not None:
            surface = with_defect(surface, self.other_defect, rng)
        part_id = f"tag-{self.seed}-{index:05d}"
        return tuple(
            self._photograph(surface, part_id, shot, np.random.default_rng([self.seed, index, shot + 1]))
            for shot in range(self.photographs_per_part)
        )

    def photographs(self, parts: Iterable[int]) -> Iterator[Photograph]:
        """The photographs of the given parts, part by part."""
        for index in parts:
            yield from self.part(index)

    def _photograph(self, surface: PlateSurface, part_id: str, shot: int, rng: np.random.Generator) -> Photograph:
        fine = (self.width * SUPERSAMPLING, self.height * SUPERSAMPLING)
        pose = _pose(rng, *fine)
        image = _expose(surface, pose, fine, rng)
        if self.lamp < 1.0:
            image *= np.float32(self.lamp)
        if self.blur > 0.0:
            scale = min(self.width / _NOMINAL_WIDTH, self.height / _NOMINAL_HEIGHT)
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self.blur * scale), np.float32)
        ok, jpeg = cv2.imencode(".jpg", _develop(image, rng), [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
        if not ok:
            raise RuntimeError("OpenCV could not encode a JPEG; is this build of OpenCV complete?")
        boxes = (self._box(_posed(mask, pose, fine)) for mask in surface.scratches)
        labelled = tuple(LabelledBox(self.other_defect or CLASS_NAME, box) for box in boxes if box is not None)
        return Photograph(f"{part_id}-{shot}.jpg", part_id, jpeg.tobytes(), labelled)

    def _box(self, mask: Layer) -> Box | None:
        """Smallest box around what is visible of a posed mask, in pixels of the photograph."""
        rows, columns = np.nonzero(mask > _VISIBLE * float(mask.max(initial=0)))
        if len(rows) == 0:
            return None
        x, y = float(columns.min()), float(rows.min())
        return Box(x, y, float(columns.max()) + 1 - x, float(rows.max()) + 1 - y).clipped(self.width, self.height)


def _pose(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """Homography (3, 3) from the plate's canvas to the supersampled photograph."""
    scale = min(width / _NOMINAL_WIDTH, height / _NOMINAL_HEIGHT) * rng.uniform(0.95, 1.04)
    angle = np.deg2rad(rng.normal(0, 2.0)) + (np.pi if rng.random() < 0.5 else 0.0)
    half = np.array([PLATE_WIDTH_PX, PLATE_HEIGHT_PX]) / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * (0.045 * width, 0.045 * height)
    # The camera never looks quite straight down: each corner is off by up to two pixels.
    seen = corners @ turn.T * scale + centre + rng.uniform(-2, 2, (4, 2)) * scale
    canvas = (corners + half) * SUPERSAMPLING
    transform = cv2.getPerspectiveTransform(canvas.astype(np.float32), seen.astype(np.float32))
    return np.asarray(transform, np.float64)


def _posed(layer: Layer, pose: NDArray[np.float64], fine: tuple[int, int]) -> Layer:
    """The layer in the photograph: warped at `fine` (width, height), then reduced to the photograph's size."""
    warped = cv2.warpPerspective(layer, pose, fine, flags=cv2.INTER_LINEAR)
    size = (fine[0] // SUPERSAMPLING, fine[1] // SUPERSAMPLING)
    return np.asarray(cv2.resize(warped, size, interpolation=cv2.INTER_AREA), np.float32)


def _expose(surface: PlateSurface, pose: NDArray[np.float64], fine: tuple[int, int], rng: np.random.Generator) -> Layer:
    """The scene under one light: (height, width) float32, 0..255 and beyond where it is over-exposed."""
    # The brightness of a scratch depends on where the light stands.
    gleam = float(rng.uniform(*_GLEAM))
    shaded = surface.brightness * (1 - _TROUGH_DEPTH * surface.trough * (1 - surface.core))
    cover = _posed(surface.cover, pose, fine)
    metal = _posed((shaded + surface.core * gleam) * surface.cover, pose, fine)
    height, width = metal.shape
    light, glare = _light(rng)
    metal *= _spread(light, width, height)
    metal += _spread(glare, width, height) * cover
    return metal + _background(height, width, rng) * (1 - cover)


def _spread(coarse: Layer, width: int, height: int) -> Layer:
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _light(rng: np.random.Generator) -> tuple[Layer, Layer]:
    """Gain (a factor near 1) and glare (added, 0..255) over the image, on a coarse grid: light is smooth."""
    y, x = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-1, 1, 90), indexing="ij")
    tilt = rng.normal(0, 0.16, 2)
    gain = rng.uniform(0.88, 1.18) * (1 + tilt[0] * x + tilt[1] * y)
    if rng.random() < 0.6:
        # A fixture throws a soft shadow over one side.
        edge = rng.uniform(-0.75, 0.75)
        gain *= 1 - rng.uniform(0.1, 0.3) / (1 + np.exp((x - edge) * 30))
    glare = np.zeros_like(gain)
    for _ in range(int(rng.integers(0, 3))):
        # A soft reflection of a lamp, anywhere on the plate.
        cx, cy = rng.uniform(-0.7, 0.7, 2)
        angle = rng.uniform(0, np.pi)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        length, breadth = rng.uniform(0.08, 0.3), rng.uniform(0.04, 0.12)
        glare += rng.uniform(25, 85) * np.exp(-0.5 * ((along / length) ** 2 + (across / breadth) ** 2))
    return gain.astype(np.float32), glare.astype(np.float32)


def _background(height: int, width: int, rng: np.random.Generator) -> Layer:
    """The lit conveyor, nearly white, with the grey jaws of the fixture above and below the plate."""
    scene = np.full((height, width), rng.uniform(238, 258), np.float32)
    for top in (True, False):
        if rng.random() < 0.75:
            left, span = rng.uniform(0.15, 0.5) * width, rng.uniform(0.1, 0.3) * width
            rows = slice(0, height // 6) if top else slice(height - height // 6, height)
            columns = slice(int(left), int(left + span))
            scene[rows, columns] = rng.uniform(110, 190)
            bar = int(left + rng.uniform(0.2, 0.8) * span)
            scene[rows, bar : bar + max(width // 90, 1)] = rng.uniform(30, 80)
    return np.asarray(cv2.GaussianBlur(scene, (0, 0), 1.5), np.float32)


def _develop(image: Layer, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lens, sensor and white balance: (height, width, 3) uint8 BGR."""
    soft = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.35, 0.65)))
    noisy = soft + rng.standard_normal(soft.shape, np.float32) * np.float32(rng.uniform(1.5, 4.0))
    tint = 1 + rng.normal(0, 0.012, 3)
    return np.clip(np.round(noisy[:, :, None] * tint.astype(np.float32)), 0, 255).astype(np.uint8)
