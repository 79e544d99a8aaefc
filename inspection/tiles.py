"""Cuts a picture into the inputs of a network: one for the whole picture, or overlapping tiles at a stated scale.

`seams` puts together what was found on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspection.buffers import Buffers
from inspection.image import Picture
from inspection.picture import PictureMeasure, measure, pooled
from inspection.preprocess import Letterbox, Preprocess, Tiles, as_picture, letterbox, resize_into, to_tensor


@dataclass(frozen=True, slots=True)
class Tile:
    """Where a tile lies in the scaled picture: its upper left corner, and its part that shows the picture, in pixels.

    number: counts the tiles from 0, row by row. inner: which of the sides left, top, right, bottom are seams: the
    picture goes on behind them.
    """

    number: int
    left: int
    top: int
    width: int
    height: int
    inner: tuple[bool, bool, bool, bool]


def begins(length: int, side: int, overlap: int) -> tuple[int, ...]:
    """Where the tiles of one axis begin: as few as overlap by `overlap` or more, spread evenly from end to end.

    Args:
        length: of the scaled picture, in pixels.
        side: of a tile, more than `overlap`.
    """
    if length <= side:
        return (0,)
    steps = math.ceil((length - side) / (side - overlap))
    return tuple(step * (length - side) // steps for step in range(steps + 1))


def tiles_of(width: int, height: int, preprocess: Preprocess) -> tuple[Tile, ...]:
    """The tiles of a scaled picture of `width` x `height` pixels, row by row."""
    tiles = _tiles(preprocess)
    columns = begins(width, preprocess.width, tiles.overlap_px)
    rows = begins(height, preprocess.height, tiles.overlap_px)
    shown_width, shown_height = min(width, preprocess.width), min(height, preprocess.height)
    return tuple(
        Tile(
            row * len(columns) + column, left, top, shown_width, shown_height,
            (column > 0, row > 0, column < len(columns) - 1, row < len(rows) - 1),
        )
        for row, top in enumerate(rows)
        for column, left in enumerate(columns)
    )  # fmt: skip


class Cut:
    """A picture that is ready to be given to a network, input by input.

    Args:
        picture: decoded as `preprocess.shrink` says; an array of pixels counts as decoded in full.
        buffers: the scaled picture lies here until the next one.
    """

    def __init__(self, picture: NDArray[np.uint8] | Picture, preprocess: Preprocess, buffers: Buffers) -> None:
        picture = as_picture(picture).shrunk(preprocess.shrink)
        self._picture, self._preprocess = picture, preprocess
        self.tiles: tuple[Tile, ...] | None = None
        """Row by row; None where the whole picture is the one input."""
        if preprocess.tiles is not None:
            width, height = scaled_size(picture, preprocess.tiles)
            self._scaled = picture.pixels
            if self._scaled.shape[:2] != (height, width):
                self._scaled = buffers.array("scaled", (height, width, 3), np.uint8)
                resize_into(picture.pixels, self._scaled, preprocess)
            self.tiles = tiles_of(width, height, preprocess)

    def __len__(self) -> int:
        """The number of inputs."""
        return 1 if self.tiles is None else len(self.tiles)

    def input(self, number: int, buffers: Buffers) -> tuple[NDArray[np.float32], Letterbox]:
        """One input, (1, 3, height, width) float32 in 0..1, in memory of `buffers`, and where the picture lies in it.

        Two threads may ask at once, each with buffers of its own.
        """
        if self.tiles is None:
            return letterbox(self._picture, self._preprocess, buffers)
        tile, preprocess = self.tiles[number], self._preprocess
        top, left = border(tile, preprocess)
        tensor = to_tensor(self.pixels(number), top, left, preprocess, buffers)
        scale_x, scale_y = self.scale
        return tensor, Letterbox(
            scale_x=scale_x,
            scale_y=scale_y,
            pad_left=left - tile.left,
            pad_top=top - tile.top,
            image_width=self._picture.width,
            image_height=self._picture.height,
        )

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of a tile for each pixel of the full picture, across and down; each of its own rounded side."""
        return self._scaled.shape[1] / self._picture.width, self._scaled.shape[0] / self._picture.height

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """What a tile shows of the scaled picture: (h, w, 3) uint8, BGR, not larger than the network's input."""
        assert self.tiles is not None
        tile = self.tiles[number]
        return self._scaled[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]


def measure_picture(picture: NDArray[np.uint8] | Picture, preprocess: Preprocess) -> PictureMeasure:
    """Measure a picture as an inspection does it: on the inputs that the network gets."""
    buffers = Buffers()
    cut = Cut(picture, preprocess, buffers)
    return pooled([measure(*cut.input(number, buffers), buffers) for number in range(len(cut))])


def scaled_size(picture: Picture, tiles: Tiles) -> tuple[int, int]:
    """Width and height of the picture that is cut into tiles."""
    return max(1, round(picture.width * tiles.scale)), max(1, round(picture.height * tiles.scale))


def border(tile: Tile, preprocess: Preprocess) -> tuple[int, int]:
    """How many pixels of grey lie above and left of a tile that is smaller than the network's input."""
    return round((preprocess.height - tile.height) / 2 - 0.1), round((preprocess.width - tile.width) / 2 - 0.1)


def _tiles(preprocess: Preprocess) -> Tiles:
    if preprocess.tiles is None:
        raise ValueError("expected a preprocessing that cuts tiles, but it takes the whole picture")
    return preprocess.tiles
