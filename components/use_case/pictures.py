"""The sections on large pictures: how a picture is decoded and cut for the network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.use_case.section import Section, Share
from inspection import preprocess

Shrink = Literal[1, 2, 4, 8]


class Tiles(Section):
    """How a picture is cut into overlapping tiles of the network's size, in training, in evaluation and on a device.

    A tile has the size of the network's input (`training.image_width`, `training.image_height`).
    """

    scale: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Pixels of a tile for each pixel of the picture; 1: no pixel of the picture is lost, 0.5: half as many a side."""
    overlap_px: Annotated[int, Field(ge=0, le=2048)]
    """What two neighbouring tiles share at least, in pixels of a tile; take the longest side of a usual defect at
    `scale`, so that it lies whole in one tile."""
    keep_share: Share = 0.3
    """A box that a tile's edge cuts is learned, clipped, where this share of it lies in the tile; else it is left out
    there. The share is of what a tile can hold of the box; the tile that shows most of a box always keeps it."""
    empty_tiles: Annotated[int, Field(ge=0, le=10_000)] = 4
    """How many tiles without a defect a training learns from each picture, at most."""

    def to_release(self) -> preprocess.Tiles:
        """What a device needs of it."""
        return preprocess.Tiles(scale=self.scale, overlap_px=self.overlap_px)
