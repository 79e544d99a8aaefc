"""A stand-in network that finds bright spots: it says of an input what can be worked out by hand."""

import cv2
import numpy as np

from inspection.preprocess import Preprocess, Tiles

SIDE = 64


def tiled(scale=1.0, overlap_px=16, side=SIDE, **changes):
    return Preprocess(side, side, tiles=Tiles(scale=scale, overlap_px=overlap_px), **changes)


def find_spots(tensor):
    """One box around each bright spot, with its mean brightness as score; (1, 3, h, w) -> (1, 5, n)."""
    grey = tensor[0].mean(axis=0)
    spots = (grey > 0.6).astype(np.uint8)
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(spots, connectivity=8)
    rows = [(SIDE / 2, SIDE / 2, 1.0, 1.0, 0.0)]  # a place that says nothing, as networks have thousands
    for spot in range(1, count):
        x, y, width, height = stats[spot][:4]
        rows.append((x + width / 2, y + height / 2, width, height, float(grey[numbers == spot].mean())))
    return np.array(rows, np.float32).T[None].copy()


def picture_with(*spots, size=(200, 150), grey=90, bright=230):
    """A grey picture, with a little texture, and bright rectangles (x, y, width, height) on it."""
    width, height = size
    image = np.full((height, width, 3), grey, np.uint8)
    image[::2, ::2] += 12
    for x, y, spot_width, spot_height in spots:
        image[y : y + spot_height, x : x + spot_width] = bright
    return image
