"""Defects of other kinds than scratches, which a model of good parts must find without having seen any."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from components.generated_parts.scene import SUPERSAMPLING, Layer, PlateSurface, blank, stroke, wander

OtherDefect = Literal["stain", "dent", "chip", "swarf"]
"""A dark blot; a knock with a bright and a dark side; a piece missing at the edge; a curl of metal that lies on it."""

OTHER_DEFECTS: Final[tuple[OtherDefect, ...]] = ("stain", "dent", "chip", "swarf")


def with_defect(surface: PlateSurface, kind: OtherDefect, rng: np.random.Generator) -> PlateSurface:
    """The surface of a part with one defect more; its mask is the last of `scratches`, which the boxes come from."""
    draw = {"stain": _stain, "dent": _dent, "chip": _chip, "swarf": _swarf}[kind]
    brightness, cover, mask = draw(surface.brightness, surface.cover, rng)
    return replace(surface, brightness=brightness, cover=cover, scratches=(*surface.scratches, mask))


def _place(layer: Layer, rng: np.random.Generator) -> NDArray[np.float64]:
    height, width = layer.shape
    return rng.uniform([0.15, 0.2], [0.85, 0.8]) * (width, height)


def _stain(plate: Layer, cover: Layer, rng: np.random.Generator) -> tuple[Layer, Layer, Layer]:
    centre, mask = _place(plate, rng), np.zeros(plate.shape, np.uint8)
    for _ in range(int(rng.integers(3, 6))):
        at = centre + rng.normal(0, 6 * SUPERSAMPLING, 2)
        axes = rng.uniform(5, 14, 2) * SUPERSAMPLING
        cv2.ellipse(mask, _pixel(at), _pixel(axes), float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1.5 * SUPERSAMPLING), np.float32)
    return plate * (1 - soft * np.float32(rng.uniform(0.55, 0.8))), cover, soft


def _dent(plate: Layer, cover: Layer, rng: np.random.Generator) -> tuple[Layer, Layer, Layer]:
    centre, radius = _place(plate, rng), rng.uniform(7, 15) * SUPERSAMPLING
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[: plate.shape[0], : plate.shape[1]].astype(np.float32)
    x, y = (x - np.float32(centre[0])) / np.float32(radius), (y - np.float32(centre[1])) / np.float32(radius)
    bell = np.exp(-(x * x + y * y), dtype=np.float32)
    side = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    return plate + side * bell * np.float32(rng.uniform(90, 170)), cover, bell


def _chip(plate: Layer, cover: Layer, rng: np.random.Generator) -> tuple[Layer, Layer, Layer]:
    height, width = plate.shape
    along = rng.uniform(0.15, 0.85)
    edges = ((along * width, 0), (along * width, height - 1), (0, along * height), (width - 1, along * height))
    centre = np.array(edges[int(rng.integers(4))])
    bite = np.zeros(plate.shape, np.uint8)
    corners = 9
    turns = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = rng.uniform(7, 14) * rng.uniform(0.6, 1.2, corners) * SUPERSAMPLING
    points = centre + np.stack([np.cos(turns), np.sin(turns)], axis=1) * reach[:, None]
    cv2.fillPoly(bite, [np.round(points).astype(np.int32)], 255, cv2.LINE_AA)
    mask = np.asarray(bite / np.float32(255), np.float32) * cover
    return plate, cover * (1 - mask), mask


def _swarf(plate: Layer, cover: Layer, rng: np.random.Generator) -> tuple[Layer, Layer, Layer]:
    path = wander(rng, _place(plate, rng), float(rng.uniform(18, 34)), 0.35)
    thickness = int(rng.integers(4, 7)) * SUPERSAMPLING
    body = stroke(path, np.full(len(path), 1.0), thickness)
    shadow = np.asarray(cv2.GaussianBlur(np.roll(body, (8, 8), (0, 1)), (0, 0), 4.0), np.float32)
    gleam = stroke(path, np.full(len(path), 1.0), max(1, thickness // 3))
    bright = np.float32(rng.uniform(60, 120))
    lit = plate * (1 - 0.5 * shadow) * (1 - body) + body * bright + gleam * bright
    return np.asarray(lit, np.float32), cover, np.maximum(body, blank())


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
