"""Calibrates scores on the validation split: isotonic regression of *true or false* on the score, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.evaluation.matching import Ranked, Scored, numbered_parts, ranked
from inspection.score_table import ScoreTable, calibrated

MIN_OF_EACH: Final = 30
"""So many true and so many false detections of a class are needed: with fewer, the table would follow single ones."""
_MOST_POINTS: Final = 40
_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Reliability:
    """Detections of one class in one bin of the score: the mean score, the share that is true, and how many."""

    score: float
    true: float
    number: int


def fit(images: Sequence[Scored], classes: Sequence[str]) -> tuple[dict[str, ScoreTable], str]:
    """A table for each class that has enough detections, and in words what was calibrated and what was not.

    A detection is true where it matches a label of its class at IoU 0.5, each label once, the best score first.
    """
    tables: dict[str, ScoreTable] = {}
    said = []
    parts = numbered_parts(images)
    for name in classes:
        found = ranked(images, name, parts)
        true = int(found.hit.sum())
        false = len(found.hit) - true
        if min(true, false) < MIN_OF_EACH:
            said.append(
                f"{name}: not calibrated, {true} true and {false} false detections, of which {MIN_OF_EACH} each are "
                "needed"
            )
            continue
        tables[name] = table_of(found.score, found.hit)
        said.append(f"{name}: by {true} true and {false} false detections of the validation split")
    return tables, "; ".join(said)


def table_of(scores: NDArray[np.float64], hits: NDArray[np.bool_]) -> ScoreTable:
    """The isotonic regression of `hits` on `scores`, in at most some forty points. scores, hits: (n,).

    Neighbours that would fall are merged into one block (pool adjacent violators; Barlow et al., 1972). A block's point
    is its mean score and its share of hits, drawn a little to the middle, so that no score is ever quite sure.
    """
    order = np.argsort(scores, kind="stable")
    blocks: list[list[float]] = []  # sum of scores, hits, number
    for group in np.array_split(order, min(_MOST_POINTS, len(order))):
        blocks.append([float(scores[group].sum()), float(hits[group].sum()), float(len(group))])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][2] >= blocks[-1][1] / blocks[-1][2]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    raw, share = [0.0], [0.0]
    for total, true, number in blocks:
        x, y = round(total / number, 6), round((true + 0.5) / (number + 1), 6)
        if raw[-1] < x < 1.0 and share[-1] < y < 1.0:
            raw.append(x)
            share.append(y)
    return ScoreTable(raw=(*raw, 1.0), calibrated=(*share, 1.0))


def apply(images: Sequence[Scored], tables: Mapping[str, ScoreTable]) -> list[Scored]:
    """The images with calibrated scores."""
    return (
        [replace(image, detections=calibrated(image.detections, tables)) for image in images] if tables else [*images]
    )


def reliability(images: Sequence[Scored], classes: Sequence[str]) -> dict[str, tuple[Reliability, ...]]:
    """How often detections of a score are true, in ten bins, from the lowest true one on.

    Bins and classes without a detection are left out.
    """
    parts = numbered_parts(images)
    found = {name: _binned(ranked(images, name, parts)) for name in classes}
    return {name: bins for name, bins in found.items() if bins}


def _binned(found: Ranked) -> tuple[Reliability, ...]:
    at = np.minimum((found.score * _BINS).astype(int), _BINS - 1)
    return tuple(
        Reliability(float(found.score[own].mean()), float(found.hit[own].mean()), int(own.sum()))
        for own in (at == number for number in range(_BINS))
        if own.any()
    )
