"""Cuts the pictures of a dataset into the tiles that a training learns from: with defects, and some without."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.use_case import Tiles
from inspection.buffers import Buffers
from inspection.geometry import Box, LabelledBox
from inspection.image import Picture
from inspection.preprocess import Preprocess
from inspection.tiles import Cut, Tile, border


@dataclass(frozen=True, slots=True)
class TileExample:
    """One tile with its boxes.

    number: of the tile. pixels: (height, width, 3) uint8, BGR, of the network's input. labels: in pixels of the tile.
    """

    number: int
    pixels: NDArray[np.uint8]
    labels: tuple[LabelledBox, ...]


def examples_of(
    picture: Picture, labels: Sequence[LabelledBox], preprocess: Preprocess, tiles: Tiles, name: str
) -> Iterator[TileExample]:
    """The tiles of a picture that are learned from, as a device cuts them.

    Every tile that shows enough of a box (`tiles.keep_share`) is taken, and at most `tiles.empty_tiles` of those that
    show nothing of any box, chosen by `name`. A tile that shows too little of its boxes is neither a defect nor a good
    place: it is left out.

    Args:
        picture: decoded as `preprocess.shrink` says.
        labels: in pixels of the full picture.
        preprocess: with tiles.
    """
    cut = Cut(picture, preprocess, Buffers())
    assert cut.tiles is not None
    scaled = [labelled for labelled in labels if labelled.box.clipped(picture.width, picture.height) is not None]
    boxes = [_on_scaled(labelled.box, cut, picture) for labelled in scaled]
    shares = np.array([[_share(box, tile) for box in boxes] for tile in cut.tiles]).reshape(len(cut.tiles), len(boxes))
    best = shares.argmax(axis=0) if boxes else np.empty(0, np.int64)
    kept = (shares > 0) & ((shares >= tiles.keep_share) | (np.arange(len(cut.tiles))[:, None] == best))
    empty = np.flatnonzero((shares <= 0).all(axis=1)).tolist()
    taken = sorted(empty, key=lambda number: hashlib.sha256(f"{name}/{number}".encode()).digest())[: tiles.empty_tiles]
    for tile in cut.tiles:
        learned = np.flatnonzero(kept[tile.number]).tolist()
        if not learned and tile.number not in taken:
            continue
        top, left = border(tile, preprocess)
        pixels = np.full((preprocess.height, preprocess.width, 3), preprocess.pad_value, np.uint8)
        pixels[top : top + tile.height, left : left + tile.width] = cut.pixels(tile.number)
        found = []
        for index in learned:
            piece = _piece(boxes[index], tile)
            if piece is not None:
                box = Box(piece.x + left, piece.y + top, piece.width, piece.height)
                found.append(LabelledBox(scaled[index].class_name, box))
        yield TileExample(tile.number, pixels, tuple(found))


def _on_scaled(box: Box, cut: Cut, picture: Picture) -> Box:
    """A box of the full picture, clipped to it, in pixels of the picture that is cut."""
    clipped = box.clipped(picture.width, picture.height)
    assert clipped is not None
    scale_x, scale_y = cut.scale
    return Box(clipped.x * scale_x, clipped.y * scale_y, clipped.width * scale_x, clipped.height * scale_y)


def _piece(box: Box, tile: Tile) -> Box | None:
    """What a tile shows of a box, in pixels of its part of the picture."""
    return Box(box.x - tile.left, box.y - tile.top, box.width, box.height).clipped(tile.width, tile.height)


def _share(box: Box, tile: Tile) -> float:
    """How much of a box a tile shows, of what it could show of it, 0..1."""
    piece = _piece(box, tile)
    return 0.0 if piece is None else piece.area / (min(box.width, tile.width) * min(box.height, tile.height))
