"""What a line shows, as counts in fixed bins: scores, sizes of boxes, brightness and sharpness of pictures.

A training writes down what it learned from, a device counts what it sees, and both count in the same bins. Counts keep
no image and no single value, and their size does not grow with the number of frames.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from inspection.codec import Document, Part
from inspection.geometry import Detection
from inspection.paths import check_name, check_sha256
from inspection.picture import PictureMeasure
from inspection.verdict import Verdict

BINS: Final = 1
"""Which bins these are. Counts in other bins cannot be compared, so a change of an edge needs a new number."""
SCORE_EDGES: Final = tuple(number / 20 for number in range(1, 20))
"""Between the bins of a score, 0..1."""
SIZE_EDGES: Final = tuple(0.005 * 2 ** (number / 3) for number in range(21))
"""Between the bins of a box's size: the root of its area as a share of the image's diagonal. Each is 1.26 times the one
before, from 0.5 % to 51 %."""
BRIGHTNESS_EDGES: Final = tuple(8.0 * number for number in range(1, 32))
"""Between the bins of a picture's brightness, 0..255."""
SHARPNESS_EDGES: Final = tuple(2 ** (number / 2) for number in range(29))
"""Between the bins of a picture's sharpness, a variance: each is 1.41 times the one before, from 1 to 16384."""

Counts = tuple[int, ...]
"""How often a value fell into each bin; the first and the last bin are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCounts(Part):
    """How bright and how sharp pictures are, see `PictureMeasure`."""

    brightness: tuple[int, ...]
    """Pictures in each bin of brightness."""
    sharpness: tuple[int, ...]
    """Pictures in each bin of sharpness."""
    bins: int = BINS
    """Which bins these are."""

    def __post_init__(self) -> None:
        if self.bins == BINS:
            _check("brightness", self.brightness, BRIGHTNESS_EDGES)
            _check("sharpness", self.sharpness, SHARPNESS_EDGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionCounts(Part):
    """The detections on some frames, from each class's `uncertain` threshold on, and the verdicts on these frames."""

    verdicts: Mapping[str, int]
    """Frames by verdict."""
    scores: Mapping[str, tuple[int, ...]]
    """Class -> detections in each bin of the score."""
    sizes: Mapping[str, tuple[int, ...]]
    """Class -> detections in each bin of the box's size."""
    bins: int = BINS
    """Which bins these are."""

    def __post_init__(self) -> None:
        if any(count < 0 for count in self.verdicts.values()):
            raise ValueError(f"expected numbers of frames, 0 or more, but got {dict(self.verdicts)}")
        if self.bins == BINS:
            for name, counts in self.scores.items():
                _check(f"scores of {name}", counts, SCORE_EDGES)
            for name, counts in self.sizes.items():
                _check(f"sizes of {name}", counts, SIZE_EDGES)

    @property
    def frames(self) -> int:
        """Frames with a verdict."""
        return sum(self.verdicts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReference(Part):
    """What a release learned from, to compare a line with."""

    pictures: PictureCounts | None = None
    """The training split; null where the training did not measure it."""
    detections: DetectionCounts
    """What the model finds on the validation split. On the training split it is surer than on any other picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineWindow(Part):
    """What one device saw with one release, from one moment to another. Times are UTC."""

    since: datetime
    """When it began."""
    until: datetime
    """When it was closed."""
    pictures: PictureCounts
    """The pictures of its frames."""
    detections: DetectionCounts
    """What was found on them."""

    def __post_init__(self) -> None:
        if self.until < self.since:
            raise ValueError(f"a window ends after it began, but got {self.since} to {self.until}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineWindows(Document):
    """`kizu-fleet/<device>/line.json`: the latest full windows of a device with its running release."""

    MOST: ClassVar[int] = 2
    """How many windows a device tells."""
    device: str
    """The device."""
    use_case: str
    """The product."""
    release_digest: str
    """The release."""
    windows: tuple[LineWindow, ...]
    """Newest last."""
    first: LineWindow | None = None
    """The first full window of this release on this device, with which the shares of later verdicts are compared; null
    in a document that does not say it."""

    def __post_init__(self) -> None:
        check_name("device", self.device)
        check_name("use case", self.use_case)
        check_sha256(self.release_digest)


class PictureCounter:
    """Counts pictures."""

    def __init__(self, begun: PictureCounts | None = None) -> None:
        self._brightness = _begun(begun.brightness if begun else (), BRIGHTNESS_EDGES)
        self._sharpness = _begun(begun.sharpness if begun else (), SHARPNESS_EDGES)

    def add(self, found: PictureMeasure) -> None:
        """Count one picture."""
        self._brightness[bisect_right(BRIGHTNESS_EDGES, found.brightness)] += 1
        self._sharpness[bisect_right(SHARPNESS_EDGES, found.sharpness)] += 1

    def counts(self) -> PictureCounts:
        """What was counted."""
        return PictureCounts(brightness=tuple(self._brightness), sharpness=tuple(self._sharpness))


class DetectionCounter:
    """Counts frames and the detections on them."""

    def __init__(self, begun: DetectionCounts | None = None) -> None:
        self._verdicts: dict[str, int] = dict(begun.verdicts) if begun else {}
        self._scores = {name: list(counts) for name, counts in begun.scores.items()} if begun else {}
        self._sizes = {name: list(counts) for name, counts in begun.sizes.items()} if begun else {}

    def add(self, verdict: Verdict, detections: Iterable[Detection], width: int, height: int) -> None:
        """Count one frame of `width` x `height` pixels.

        Args:
            detections: from each class's `uncertain` threshold on.
        """
        self._verdicts[verdict] = self._verdicts.get(verdict, 0) + 1
        diagonal = math.hypot(width, height)
        for found in detections:
            size = math.sqrt(found.box.width * found.box.height) / diagonal
            _of(self._scores, found.class_name, SCORE_EDGES)[bisect_right(SCORE_EDGES, found.score)] += 1
            _of(self._sizes, found.class_name, SIZE_EDGES)[bisect_right(SIZE_EDGES, size)] += 1

    @property
    def frames(self) -> int:
        """Frames that were counted."""
        return sum(self._verdicts.values())

    def counts(self) -> DetectionCounts:
        """What was counted."""
        return DetectionCounts(
            verdicts=dict(self._verdicts),
            scores={name: tuple(counts) for name, counts in self._scores.items()},
            sizes={name: tuple(counts) for name, counts in self._sizes.items()},
        )


def count_pictures(measures: Iterable[PictureMeasure]) -> PictureCounts:
    """The counts of some pictures."""
    counter = PictureCounter()
    for found in measures:
        counter.add(found)
    return counter.counts()


def median(counts: Sequence[int], edges: Sequence[float]) -> float | None:
    """About the median of counted values: inside its bin, values are taken to lie evenly; None without any value.

    A median in one of the two open bins is its one edge.
    """
    half, below = sum(counts) / 2, 0.0
    if not half:
        return None
    for place, count in enumerate(counts):
        if below + count >= half:
            if place in (0, len(edges)):
                return edges[min(place, len(edges) - 1)]
            return edges[place - 1] + (edges[place] - edges[place - 1]) * (half - below) / count
        below += count
    raise AssertionError("half of the values lie in some bin")


def _of(by_class: dict[str, list[int]], name: str, edges: Sequence[float]) -> list[int]:
    counts = by_class.get(name)
    if counts is None:
        counts = by_class[name] = _begun((), edges)
    return counts


def _begun(counts: Sequence[int], edges: Sequence[float]) -> list[int]:
    return list(counts) or [0] * (len(edges) + 1)


def _check(what: str, counts: Sequence[int], edges: Sequence[float]) -> None:
    if len(counts) != len(edges) + 1 or any(count < 0 for count in counts):
        raise ValueError(f"{what}: expected {len(edges) + 1} counts, 0 or more, but got {str(list(counts))[:60]}")
