"""Find photographs that show the same again: moved, turned by 180 degrees, brightened or encoded again.

A 64-bit perceptual hash proposes pairs. Each pair is confirmed by laying one image over the other and comparing the
fine texture (`likeness`). The hash limits what is found; the confirmation decides. On the public metal tags, 140 of the
156 photographs that have a sibling are linked to one; on generated tags, whose photographs differ more in pose and
light, 40 of 180. No two different parts were linked in either set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.stores.objects.read_ahead import read_ahead
from components.stores.raw_images.comparisons import Compared, Comparisons, NoComparisons, Pair
from components.stores.raw_images.likeness import SIMILAR, Grey, Transform, compare, stretch

_log = logging.getLogger(__name__)

THUMBNAIL_PX: Final = 256
_MAX_DISTANCE: Final = 24  # bits of 64: two unrelated images differ in about 32
_WINDOW: Final = 64
_CHUNK: Final = 4096
_PER_IMAGE: Final = 4
_MAX_PAIRS: Final = 5000
_KEPT_IMAGES: Final = 2048  # thumbnails of at most 64 kB
_THREADS: Final = 4
_AHEAD: Final = 64  # pairs
# Of a likeness. Its last digits depend on the processor's vector unit, and must not decide.
_DIGITS: Final = 3
_NOTHING_KNOWN: Final = NoComparisons()


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """64-bit hashes of an image as it is, and turned by 180 degrees, because a part may lie either way round."""

    upright: int
    turned: int


@dataclass(frozen=True, slots=True)
class SimilarPair:
    """Two images by their place in a sequence, `a` < `b`. turned: whether one is turned by 180 degrees."""

    a: int
    b: int
    turned: bool
    distance: int


@dataclass(frozen=True, slots=True, eq=False)
class NearDuplicate:
    """Two images that show the same. similarity: 0..1, of `compare`; transform: (3, 3), pixels of a -> of b."""

    a: str
    b: str
    similarity: float
    transform: Transform


def thumbnail(image: NDArray[np.uint8]) -> Grey:
    """Grey, at most `THUMBNAIL_PX` on its longer side. image: (height, width, 3) uint8 BGR."""
    height, width = image.shape[:2]
    scale = min(1.0, THUMBNAIL_PX / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    return shrink(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8), size)


def shrink(grey: Grey, size: tuple[int, int]) -> Grey:
    """The mean of the area of each new pixel, in whole numbers: so it is the same on every processor.

    OpenCV adds floats, in the order that the processor's vector unit likes. size: width, height.
    """
    rows = _sums(grey, size[1])  # each is the sum times the new height
    both = _sums(np.ascontiguousarray(rows.T), size[0]).T
    area = grey.shape[0] * grey.shape[1]
    return np.asarray((2 * both + area) // (2 * area), np.uint8)


def _sums(values: NDArray[Any], parts: int) -> NDArray[np.int64]:
    """Sums over `parts` equal parts of the first axis, times `parts`: a part may begin within a pixel."""
    length = len(values)
    whole, rest = np.divmod(np.arange(parts + 1, dtype=np.int64) * length, parts)
    before = np.zeros((parts + 1, *values.shape[1:]), np.int64)
    if parts <= length:
        np.cumsum(np.add.reduceat(values, whole[:-1], axis=0, dtype=np.int64), axis=0, out=before[1:])
    else:  # several parts begin within one pixel
        before[:] = np.concatenate([before[:1], np.cumsum(values, axis=0, dtype=np.int64)])[whole]
    split = values[np.minimum(whole, length - 1)].astype(np.int64)  # the pixel in which a part begins
    edges = before * parts + rest[:, None] * split
    return np.diff(edges, axis=0)


def fingerprint(grey: Grey) -> Fingerprint:
    """The hashes of a thumbnail: at 8 x 8 places, whether it grows brighter to the right (dHash)."""
    return Fingerprint(_hash(grey), _hash(np.ascontiguousarray(grey[::-1, ::-1])))


def _hash(grey: Grey) -> int:
    small = shrink(grey, (9, 8)).astype(np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def similar_pairs(prints: Sequence[Fingerprint], *, per_image: int = _PER_IMAGE) -> list[SimilarPair]:
    """Pairs whose hashes differ in few bits; about `per_image` nearest ones for each image.

    The hashes are sorted eight times, each time beginning at another byte, and each is compared with its neighbours in
    that order. This takes n log n steps, also where thousands of photographs look alike, as those of one product do.
    """
    n = len(prints)
    if n < 2 or per_image < 1:
        return []
    hashes = np.array([p.upright for p in prints] + [p.turned for p in prints], np.uint64)  # place n + i: i turned
    found = np.concatenate([_neighbours(np.roll(_bytes(hashes), -k, axis=1), hashes, n, per_image) for k in range(8)])
    taken = [0] * n
    seen: set[tuple[int, int]] = set()
    chosen: list[SimilarPair] = []
    # The nearest first. A pair is kept while one of its two images has fewer than `per_image` pairs.
    for distance, one, other in found[np.lexsort(found.T[::-1])].tolist():
        a, b = min(one, other % n), max(one, other % n)
        if (a, b) in seen or (taken[a] >= per_image and taken[b] >= per_image):
            continue
        seen.add((a, b))
        taken[a] += 1
        taken[b] += 1
        chosen.append(SimilarPair(a, b, other >= n, distance))
    return chosen


def _bytes(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return hashes.astype(">u8").view(np.uint8).reshape(-1, 8)


def _neighbours(keys: NDArray[np.uint8], hashes: NDArray[np.uint64], n: int, per_image: int) -> NDArray[np.int64]:
    """(m, 3) rows of distance, image, other hash: the nearest of those that stand close by in the order of `keys`."""
    order = np.lexsort(keys.T[::-1])
    offsets = np.concatenate([np.arange(-_WINDOW, 0), np.arange(1, _WINDOW + 1)])
    places = np.flatnonzero(order < n)
    rows = []
    for start in range(0, len(places), _CHUNK):
        at = places[start : start + _CHUNK]
        near = at[:, None] + offsets
        image, other = order[at], order[np.clip(near, 0, len(order) - 1)]
        distance = np.bitwise_count(hashes[image][:, None] ^ hashes[other]).astype(np.int64)
        distance[(near < 0) | (near >= len(order)) | (other % n == image[:, None])] = 65
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :per_image]
        picked = np.take_along_axis(distance, nearest, axis=1)
        good = picked <= _MAX_DISTANCE
        images = np.broadcast_to(image[:, None], nearest.shape)
        rows.append(np.stack([picked[good], images[good], np.take_along_axis(other, nearest, axis=1)[good]], axis=1))
    return np.concatenate(rows)


def find_near_duplicates(
    prints: Mapping[str, Fingerprint],
    load: Callable[[str], NDArray[np.uint8] | None],
    *,
    wanted: Callable[[str, str], bool] = lambda a, b: True,
    per_image: int = _PER_IMAGE,
    max_pairs: int = _MAX_PAIRS,
    known: Comparisons = _NOTHING_KNOWN,
) -> list[NearDuplicate]:
    """Confirmed pairs, by key. The same prints and images give the same pairs.

    load: the image of a key, (height, width, 3) uint8 BGR, or None if it cannot be read. It is called from several
    threads, and may be called again for the same image, so that memory is bounded. wanted: which pairs to confirm, e.g.
    those of two groups. max_pairs: how many are compared, nearest hashes first; a warning says if there are more.
    known: results of earlier comparisons. Where it is given, a key is the sha256 of its image. Images of pairs that it
    knows are not loaded.
    """
    keys = sorted(prints)
    found = [c for c in similar_pairs([prints[k] for k in keys], per_image=per_image) if wanted(keys[c.a], keys[c.b])]
    if len(found) > max_pairs:
        _log.warning("%d pairs look alike; the nearest %d of them are compared", len(found), max_pairs)

    @lru_cache(maxsize=_KEPT_IMAGES)
    def prepared(key: str) -> _Prepared | None:
        image = load(key)
        return None if image is None else _Prepared(thumbnail(image), image.shape[1], image.shape[0])

    def look(pair: Pair) -> Compared | None:
        a, b = prepared(pair.a), prepared(pair.b)
        if a is None or b is None:
            return None
        exact, transform = compare(a.grey, b.grey, turned=pair.turned)
        similarity = round(exact, _DIGITS)
        if similarity < SIMILAR:
            return Compared(similarity, None)
        whole = b.scale @ transform @ np.linalg.inv(a.scale)
        return Compared(similarity, tuple(float(value) for value in whole.ravel()))

    # In the order of their images, so that an image is prepared once.
    pairs = [Pair(keys[c.a], keys[c.b], c.turned) for c in sorted(found[:max_pairs], key=lambda c: (c.a, c.b))]
    results = {pair: result for pair in pairs if (result := known.get(pair)) is not None}
    unknown = [pair for pair in pairs if pair not in results]
    looked = zip(unknown, read_ahead(look, unknown, at_most=_AHEAD, threads=_THREADS), strict=True)
    fresh = {pair: result for pair, result in looked if result is not None}
    known.keep(fresh)
    results |= fresh
    return [
        NearDuplicate(pair.a, pair.b, result.similarity, np.array(result.transform, np.float64).reshape(3, 3))
        for pair in pairs
        if (result := results.get(pair)) is not None and result.transform is not None
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    grey: Grey
    width: int
    height: int

    @property
    def scale(self) -> Transform:
        """Pixels of the thumbnail -> pixels of the image."""
        return stretch(self.grey, (self.height, self.width))
