"""Puts together what was found on overlapping tiles: a defect at a seam gives one box, as in the middle of a tile.

Suppression by overlap alone is not enough there. A tile shows a piece of a defect, its neighbour the whole of it, and
the two boxes overlap too little to suppress each other; of a scratch that is longer than the overlap, each tile shows a
piece. ADR 64 says why the pieces are joined in this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inspection.decode import Nms
from inspection.geometry import Box, Detection
from inspection.preprocess import Letterbox
from inspection.tiles import Tile

_EDGE_PX: Final = 8.0
"""A box that ends this near to a seam, in pixels of the tile, may go on behind it."""
_INSIDE: Final = 0.6
"""A box of which this share lies in a larger one of another tile is a piece of the same defect."""


@dataclass(frozen=True, slots=True)
class Found:
    """A detection on one or several tiles.

    detection: its box in pixels of the picture. tiles: the numbers of the tiles that it was found on. cut: whether it
    may go on behind the seam at the left, top, right and bottom.
    """

    detection: Detection
    tiles: frozenset[int]
    cut: tuple[bool, bool, bool, bool] = (False, False, False, False)


def on_tile(detections: Sequence[Detection], tile: Tile, geometry: Letterbox) -> list[Found]:
    """The detections of one tile, with the seams that they touch. geometry: where the picture lies in the input."""
    margin_x, margin_y = _EDGE_PX / geometry.scale_x, _EDGE_PX / geometry.scale_y
    left, top = tile.left / geometry.scale_x + margin_x, tile.top / geometry.scale_y + margin_y
    right = (tile.left + tile.width) / geometry.scale_x - margin_x
    bottom = (tile.top + tile.height) / geometry.scale_y - margin_y
    found = []
    for detection in detections:
        x1, y1, x2, y2 = detection.box.xyxy
        touches = (x1 < left, y1 < top, x2 > right, y2 > bottom)
        cut = tuple(inner and touch for inner, touch in zip(tile.inner, touches, strict=True))
        found.append(Found(detection, frozenset((tile.number,)), (cut[0], cut[1], cut[2], cut[3])))
    return found


def merged(found: Sequence[Found], nms: Nms) -> tuple[Detection, ...]:
    """The detections of the whole picture, highest score first.

    1. Boxes of two tiles that overlap by more than `nms.iou` are the same defect seen twice: the higher score has the
       box, but a whole box comes before a piece.
    2. A box that lies mostly in a larger one of another tile is the same defect, which the other tile shows better.
    3. Boxes that end at the same seam from both sides, and overlap, are pieces of one defect: it has the box around
       them. The first two rules hold for that box too.

    A defect has the highest of the scores of its boxes. Two boxes of one tile are never the same defect: suppression on
    the tile has decided that. Boxes of different classes are not, unless suppression is class-agnostic.

    Args:
        found: of all tiles, after suppression on each of them.
    """
    if len({number for one in found for number in one.tiles}) > 1:
        joined = _joined(_covered(_suppressed(found, nms, pieces=False), nms), nms)
        found = _suppressed(_covered(joined, nms), nms, pieces=True)
    best_first = sorted((one.detection for one in found), key=lambda detection: -detection.score)
    return tuple(best_first[: nms.max_detections])


def _suppressed(found: Sequence[Found], nms: Nms, *, pieces: bool) -> list[Found]:
    """Rule 1. pieces: whether it holds between two pieces too; before they are joined it does not."""
    order = sorted(found, key=lambda one: (any(one.cut), -one.detection.score))
    xyxy = _corners(order)
    area = _areas(xyxy)
    kept: list[int] = []
    for index, one in enumerate(order):
        shared = _intersections(xyxy[index], xyxy[kept])
        overlaps = shared / (area[index] + area[kept] - shared)
        same = [
            place
            for place in np.flatnonzero(overlaps > nms.iou).tolist()
            if _may_be_same(one, order[kept[place]], nms) and (pieces or not any(order[kept[place]].cut))
        ]
        if same:
            best = kept[max(same, key=lambda place: float(overlaps[place]))]
            order[best] = _with_score(order[best], one.detection.score)
        else:
            kept.append(index)
    return [order[index] for index in kept]


def _covered(found: Sequence[Found], nms: Nms) -> list[Found]:
    """Rule 2, but for pieces that rule 3 joins."""
    order = sorted(found, key=lambda one: (-one.detection.box.area, -one.detection.score))
    xyxy = _corners(order)
    area = _areas(xyxy)
    kept: list[int] = []
    for index, one in enumerate(order):
        shares = _intersections(xyxy[index], xyxy[kept]) / area[index]
        around = [
            place
            for place in np.flatnonzero(shares >= _INSIDE).tolist()
            if _may_be_same(one, order[kept[place]], nms) and not _meet(one, order[kept[place]], nms)
        ]
        if around:
            best = kept[max(around, key=lambda place: float(shares[place]))]
            order[best] = _with_score(order[best], one.detection.score)
        else:
            kept.append(index)
    return [order[index] for index in kept]


def _joined(found: Sequence[Found], nms: Nms) -> list[Found]:
    """Rule 3: pieces that meet at seams, each chain of them as one."""
    pieces = [one for one in found if any(one.cut)]
    groups: list[list[Found]] = []
    for piece in pieces:
        touching = [group for group in groups if any(_meet(piece, other, nms) for other in group)]
        groups = [group for group in groups if not any(group is one for one in touching)]
        groups.append([piece, *(other for group in touching for other in group)])
    return [one for one in found if not any(one.cut)] + [_around(group) for group in groups]


def _may_be_same(one: Found, other: Found, nms: Nms) -> bool:
    same_class = nms.class_agnostic or one.detection.class_name == other.detection.class_name
    return same_class and one.tiles.isdisjoint(other.tiles)


def _meet(one: Found, other: Found, nms: Nms) -> bool:
    facing = any(one.cut[side] and other.cut[(side + 2) % 4] for side in range(4))
    return facing and _may_be_same(one, other, nms) and _overlap(one.detection.box, other.detection.box)


def _overlap(one: Box, other: Box) -> bool:
    (a1, b1, a2, b2), (c1, d1, c2, d2) = one.xyxy, other.xyxy
    return min(a2, c2) > max(a1, c1) and min(b2, d2) > max(b1, d1)


def _around(group: Sequence[Found]) -> Found:
    if len(group) == 1:
        return group[0]
    x1, y1, x2, y2 = zip(*(one.detection.box.xyxy for one in group), strict=True)
    best = max((one.detection for one in group), key=lambda detection: detection.score)
    box = Box.from_xyxy(min(x1), min(y1), max(x2), max(y2))
    return Found(replace(best, box=box), frozenset().union(*(one.tiles for one in group)))


def _with_score(one: Found, score: float) -> Found:
    if score <= one.detection.score:
        return one
    return replace(one, detection=replace(one.detection, score=score))


def _corners(found: Sequence[Found]) -> NDArray[np.float64]:
    return np.array([one.detection.box.xyxy for one in found], np.float64).reshape(-1, 4)


def _areas(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    return result


def _intersections(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    result: NDArray[np.float64] = np.maximum(sides, 0.0).prod(axis=1)
    return result
