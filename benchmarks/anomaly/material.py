"""Good parts to learn from, other good parts, and defective ones by kind: generated tags, and public circuit boards."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.generated_parts.other_defects import OTHER_DEFECTS
from components.generated_parts.photographs import LineGenerator

TAG_SIZE: Final = (320, 224)
BOARD_SIZE: Final = (640, 640)
_HELD_OUT: Final = 60
_EACH_KIND: Final = 20
_BOARDS_LEARNED: Final = 100
_RUN: Final = 10


@dataclass(frozen=True, slots=True)
class Material:
    """Image files of one trial. good: other good parts than `learned`; defective: kind -> images.

    size: width and height of the network's input.
    """

    name: str
    size: tuple[int, int]
    learned: Sequence[bytes]
    good: Sequence[bytes]
    defective: Mapping[str, Sequence[bytes]]


def tags(seed: int, learned: int) -> Material:
    """Generated metal tags, one photograph of each part. No kind of defect is among those to learn from."""
    good = LineGenerator(seed=seed, defect_rate=0.0, photographs_per_part=1)
    lines = {"scratch": LineGenerator(seed=seed, defect_rate=1.0, photographs_per_part=1)} | {
        kind: LineGenerator(seed=seed, defect_rate=1.0, photographs_per_part=1, other_defect=kind)
        for kind in OTHER_DEFECTS
    }
    return Material(
        f"generated tags, {learned} good parts",
        TAG_SIZE,
        [photo.jpeg for photo in good.photographs(range(learned))],
        [photo.jpeg for photo in good.photographs(range(1000, 1000 + _HELD_OUT))],
        {
            kind: [photo.jpeg for photo in line.photographs(range(2000, 2000 + _EACH_KIND))]
            for kind, line in lines.items()
        },
    )


def boards(folder: Path, seed: int) -> Material:
    """Public circuit boards: templates are good, tested boards defective.

    Whole runs of ten pictures, which are neighbours in one scan, fall to one side; the seed chooses which.
    """
    names = sorted(file.name.removesuffix("_temp.jpg") for file in (folder / "images").glob("*_temp.jpg"))
    runs = [names[start : start + _RUN] for start in range(0, len(names), _RUN)]
    random.Random(seed).shuffle(runs)
    ordered = [name for run in runs for name in run]

    def read(wanted: Sequence[str], kind: str) -> list[bytes]:
        return [(folder / "images" / f"{name}_{kind}.jpg").read_bytes() for name in wanted]

    others = ordered[_BOARDS_LEARNED:]
    return Material(
        f"public circuit boards, {_BOARDS_LEARNED} templates",
        BOARD_SIZE,
        read(ordered[:_BOARDS_LEARNED], "temp"),
        read(others, "temp"),
        {"tested": read(others, "test")},
    )
