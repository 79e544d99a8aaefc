"""A paired bootstrap over the parts of the test split: how much of a difference between two models may be chance.

Parts are drawn with replacement, not images, because photographs of one part are not independent. Both models are
scored on the same drawn parts, so that parts that are hard for both cancel out (Efron and Tibshirani 1993, percentile
interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.evaluation.matching import Ranked, Scored, numbered_parts, precision_at_recall, ranked
from components.stores.models.evaluation_report import Difference

_RESAMPLES: Final = 2000
_FEWEST: Final = 200
_WORK: Final = 50_000_000  # the most ranked detections times resamples: some seconds


def paired_difference(
    ours: Sequence[Scored], theirs: Sequence[Scored], classes: Sequence[str], *, seed: int = 0
) -> Difference | None:
    """The mAP50 of `ours` minus that of `theirs`, on the same images, with its 95 % interval.

    None where no image has a label. The same inputs and seed give the same interval.
    """
    parts = numbered_parts(ours)
    curves = [(ranked(ours, name, parts), ranked(theirs, name, parts)) for name in classes]
    curves = [pair for pair in curves if pair[0].labels.any()]
    if not curves:
        return None
    size = sum(len(curve.part) for pair in curves for curve in pair)
    resamples = int(np.clip(_WORK // max(1, size), _FEWEST, _RESAMPLES))
    drawn = np.random.default_rng(seed).multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=resamples)
    found = [difference for weights in drawn if (difference := _difference(curves, weights)) is not None]
    value = _difference(curves, np.ones(len(parts), np.int64))
    assert value is not None
    low, high = np.percentile(found, [2.5, 97.5]) if found else (-1.0, 1.0)
    return Difference(value=value, low=float(low), high=float(high), parts=len(parts), resamples=resamples, seed=seed)


def _difference(curves: Sequence[tuple[Ranked, Ranked]], weights: NDArray[np.int64]) -> float | None:
    differences = []
    for ours, theirs in curves:
        own, other = precision_at_recall(ours, weights), precision_at_recall(theirs, weights)
        if own is not None and other is not None:  # both have the same labels
            differences.append(float(own.mean() - other.mean()))
    return float(np.mean(differences)) if differences else None
