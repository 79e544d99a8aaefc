"""What a first look proposes: input size, kind, split, batch, gates, each with its reason. Pure rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from components.first_look.findings import Findings, FoundLabels
from components.stores.models.evaluation_report import Rate

DEFECT_PX: Final = 20
"""The longer side that a defect should keep at the network's input: two to three cells of its finest grid."""
USUAL_PX: Final = 640
"""The longer side of the input where the size of defects is not known."""
ANOMALY: Final = "patchcore"
"""The detector that learns from good parts alone."""
_ANOMALY_PX: Final = 320
_GOOD_PARTS: Final = 20
MOST_PX: Final = 1280
"""The largest input for a whole picture. Beyond it, a picture is better inspected in tiles."""
TILE_PX: Final = 640
LEAST_PX: Final = 256
_STEPS: Final = 1000
"""Steps after which a training of a few hundred pictures is mostly done."""
_SECONDS_A_PIXEL: Final = 9.3e-7
"""Of a training of YOLOv8 n on two processor cores, forward and backward (docs/benchmarks.md)."""
_LARGE_PX: Final = 512 * 512
_FEW_PARTS: Final = 40
_MAX_ESCAPE: Final = 0.15


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """A value that is proposed, and why."""

    value: T
    why: str


@dataclass(frozen=True, slots=True)
class Shares:
    """How the parts are split."""

    test: float
    val: float
    min_images: int
    min_test_parts: int


@dataclass(frozen=True, slots=True)
class Cut:
    """How a picture is cut into tiles: `tiles.scale` and `tiles.overlap_px` of the use case."""

    scale: float
    overlap_px: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """All that the use case file says about these photographs."""

    name: str
    classes: Choice[tuple[str, ...]]
    kind: Choice[str]
    grouping: str
    input: Choice[tuple[int, int]]
    tiles: Choice[Cut | None]
    batch: Choice[int]
    epochs: Choice[int]
    split: Choice[Shares]
    bound: Choice[str]


def propose(name: str, found: Findings, *, classes: tuple[str, ...] = (), good_only: bool = False) -> Proposal:
    """The proposal for a product. The same findings give the same proposal.

    Args:
        classes: what a person called the defects; empty: those of the labels, or one class for a start.
        good_only: a person said that all photographs show good parts.
    """
    kind = _kind(found, good_only)
    split = _split(found, kind.value)
    train = max(1, round(found.files * (1 - split.value.test - split.value.val)))
    size, tiles = _input(found, kind.value)
    width, height = size.value
    batch = _batch(width * height, train)
    return Proposal(
        name=name,
        classes=_classes(found, classes),
        kind=kind,
        grouping=_grouping(found),
        input=size,
        tiles=tiles,
        batch=batch,
        epochs=_epochs(train, batch.value, width * height),
        split=split,
        bound=_bound(found, split.value, kind.value),
    )


def _classes(found: Findings, given: tuple[str, ...]) -> Choice[tuple[str, ...]]:
    if given:
        return Choice(given, "As you named them. Their order is the model's: append new ones at the end.")
    if found.labels is not None and found.labels.classes:
        return Choice(
            found.labels.classes,
            f"The classes of {found.labels.file}. Their order is the model's: append new ones at the end.",
        )
    return Choice(
        ("defect",),
        "No labels lie there, so there is one class for a start. Name the kinds of defects before you label.",
    )


def _kind(found: Findings, good_only: bool) -> Choice[str]:
    labels = found.labels
    if labels is not None and labels.defective:
        return Choice(
            "yolov8",
            f"A detector: {labels.file} shows defects on {labels.defective} pictures, which it can learn from.",
        )
    if good_only or found.in_good_folders or (labels is not None and labels.good >= found.files):
        said = "you say so" if good_only else "their folders or labels say so"
        parts = found.parts or found.files
        few = f" {_GOOD_PARTS} good parts or more are better than the {parts} here." if parts < _GOOD_PARTS else ""
        return Choice(
            ANOMALY,
            f"All pictures show good parts ({said}), so the model learns from good parts alone and finds what looks "
            f"unlike them (docs/how-to/good-parts-only.md).{few} Label what it finds; a detector can learn from that "
            "later.",
        )
    return Choice(
        "yolov8",
        "A detector, which learns from labelled defects. Nothing here says whether there are any; if all pictures show "
        "good parts, run the command again with --good-only.",
    )


def _grouping(found: Findings) -> str:
    if found.parts:
        return f"parts.csv names {found.parts} parts. All photographs of one part stay in one split."
    if found.alike:
        return (
            f"{len(found.alike)} pairs of the pictures show the same again, but no parts.csv names the parts. Write "
            "one (columns image, part) before you import, or photographs of one part may be in training and in test, "
            "and the scores are too good."
        )
    return (
        "No parts.csv says which pictures show the same part. Write one (columns image, part) before you import if a "
        "part was photographed more than once."
    )


def _input(found: Findings, kind: str) -> tuple[Choice[tuple[int, int]], Choice[Cut | None]]:
    labels, longer = found.labels, found.longer
    if labels is not None and labels.sides:
        defect = labels.side_at(0.1) * longer
        wanted = longer * min(1.0, DEFECT_PX / defect)
        why = (
            f"At this size nine of ten defects keep {DEFECT_PX} pixels or more on their longer side ({defect:.0f} on "
            "the picture)"
        )
    else:
        wanted = min(longer, _ANOMALY_PX if kind == ANOMALY else USUAL_PX)
        why = (
            f"The size of defects is not known, so the longer side has {wanted} pixels. A defect should keep "
            f"{DEFECT_PX} pixels, which are {math.ceil(DEFECT_PX * longer / wanted)} pixels of your pictures; if yours "
            "are smaller, take a larger input"
        )
    if labels is not None and labels.sides and wanted > MOST_PX:
        return _tiled(longer, wanted / longer, labels)
    size = max(wanted, min(LEAST_PX, longer))
    width, height = _up(found.width * size / longer), _up(found.height * size / longer)
    if longer > 2 * size:
        tiles = f"None: the whole picture is scaled to {size / longer:.0%} of its sides, and defects stay visible."
    else:
        tiles = "None: the picture is hardly larger than the network's input."
    return Choice((width, height), f"{why}. Multiples of 32. A smaller input is faster."), Choice(None, tiles)


def _tiled(longer: int, scale: float, labels: FoundLabels) -> tuple[Choice[tuple[int, int]], Choice[Cut | None]]:
    """Tiles at the largest scale that defects need, which share as much as a long defect has there."""
    scale = min(1.0, math.ceil(scale * 100) / 100)
    long = labels.side_at(0.9) * longer * scale
    overlap = min(TILE_PX // 2, max(32, math.ceil(long)))
    return (
        Choice(
            (TILE_PX, TILE_PX),
            f"The size of a tile. Defects this small need {round(longer * scale)} pixels on the longer side of the "
            f"whole picture to keep {DEFECT_PX}, more than one input of up to {MOST_PX} has.",
        ),
        Choice(
            Cut(scale, overlap),
            f"Tiles overlap by the longer side of a large defect ({long:.0f} pixels at this scale), so that it lies "
            "whole in one of them. Each tile takes the time of one picture.",
        ),
    )


def _up(pixels: float) -> int:
    """The next multiple of 32."""
    return max(32, math.ceil(round(pixels, 3) / 32) * 32)


def _batch(pixels: int, train: int) -> Choice[int]:
    if train < 60:
        return Choice(4, f"About {train} pictures to learn from: small steps, or an epoch has hardly any.")
    if pixels > _LARGE_PX:
        return Choice(4, "The input is large: more pictures a step need more memory than a small machine has.")
    return Choice(8, "Fits into the memory of a small machine. A GPU takes 16 or more.")


def _epochs(train: int, batch: int, pixels: int) -> Choice[int]:
    epochs = min(100, max(20, math.ceil(_STEPS * batch / train)))
    minutes = max(1, round(epochs * train * pixels * _SECONDS_A_PIXEL / 60))
    return Choice(
        epochs,
        f"About {_STEPS} steps with some {train} pictures to learn from; about {minutes} min on two idle processor "
        "cores.",
    )


def _split(found: Findings, kind: str) -> Choice[Shares]:
    parts = found.parts or found.files
    test, val = (0.3, 0.2) if parts < _FEW_PARTS else (0.2, 0.15)
    if kind == ANOMALY:
        test, val = 0.25, 0.25
    expected = parts * test
    least = max(2, math.floor(0.6 * expected))
    images = max(10, min(40, found.files // 2))
    what = "parts" if found.parts else "pictures, each taken for a part"
    return Choice(
        Shares(test, val, images, least),
        f"{parts} {what}: about {round(expected)} fall to test and {round(parts * val)} to validation"
        + _why_shares(kind, parts)
        + " Write another seed if one of them gets too few; never after you have seen a score.",
    )


def _why_shares(kind: str, parts: int) -> str:
    if kind == ANOMALY:
        return ", which chooses the threshold on good parts, so it gets more than usual."
    return ", larger shares than usual because they are few." if parts < _FEW_PARTS else "."


def _bound(found: Findings, split: Shares, kind: str) -> Choice[str]:
    if kind == ANOMALY:
        return Choice(
            "point",
            "Without a defective part nobody can tell how many defects escape: escape_rate and image_auroc pass as not "
            "measurable until there are some, and are judged then.",
        )
    parts = found.parts or found.files
    labels = found.labels
    known = labels.defective + labels.good if labels is not None else 0
    share = labels.defective / known if labels is not None and known > labels.defective else 0.5
    defective = math.floor(parts * split.test * share)
    needed = Rate(count=0, n=0).parts_for(_MAX_ESCAPE)
    if needed is not None and defective >= needed:
        return Choice(
            "upper_95",
            f"About {defective} defective parts fall to test: enough to judge these rates by the upper end of their "
            "95 % interval.",
        )
    return Choice(
        "point",
        f"About {defective} defective parts fall to test; to show an escape rate of {_MAX_ESCAPE} by the upper end of "
        f"its interval (bound: upper_95), {needed} without an escape are needed.",
    )
