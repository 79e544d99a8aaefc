"""The choice of operating thresholds by what wrong verdicts cost: class by class, on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components.evaluation.matching import Scored
from components.evaluation.parts import parts_of
from components.use_case import Cost, Operating
from inspection.verdict import ClassThreshold, Verdict

_MAX_ROUNDS: Final = 5

AtScores = Callable[[Mapping[str, float]], Mapping[str, ClassThreshold]]
"""Scores by class -> thresholds."""


@dataclass(frozen=True, slots=True)
class Bill:
    """How many parts of a split are judged wrongly, and how many a person looks at."""

    escapes: int
    overkill: int
    reviews: int
    parts: int

    def total(self, cost: Cost) -> float:
        """What they cost together."""
        return self.escapes * cost.escape + self.overkill * cost.overkill + self.reviews * cost.review


def bill(images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold]) -> Bill:
    """Count the verdicts on the parts of some images. A defective part in review is no escape here."""
    parts = parts_of(images, thresholds)
    verdicts = list(parts.verdicts.items())
    return Bill(
        escapes=sum(verdict is Verdict.PASS for group, verdict in verdicts if group in parts.defective),
        overkill=sum(verdict is Verdict.FAIL for group, verdict in verdicts if group not in parts.defective),
        reviews=sum(verdict is Verdict.UNCERTAIN for _, verdict in verdicts),
        parts=len(verdicts),
    )


def choose_by_cost(
    images: Sequence[Scored], classes: Sequence[str], rule: Operating, cost: Cost, grid: Sequence[float], at: AtScores
) -> tuple[Mapping[str, ClassThreshold], str]:
    """Choose a score for each class; returns the thresholds, and in words how they were chosen.

    The best common score comes first. Then each class in turn gets the score that costs least beside those of the
    others, until nothing changes. A class without a defect in the split keeps the common score: its own would only ever
    rise. Among equals, the score nearest the default is taken.

    Args:
        images: with at least one defective part.
        grid: the scores that are tried, rising.
    """
    found: dict[tuple[float, ...], float] = {}

    def worth(scores: Mapping[str, float]) -> float:
        key = tuple(scores[name] for name in classes)
        if key not in found:
            found[key] = bill(images, at(scores)).total(cost)
        return found[key]

    def best(name_of: Callable[[float], Mapping[str, float]]) -> float:
        return min(grid, key=lambda score: (worth(name_of(score)), abs(score - rule.default_score), score))

    common = best(lambda score: dict.fromkeys(classes, score))
    scores: dict[str, float] = dict.fromkeys(classes, common)
    shown = {label.class_name for image in images for label in image.defects}
    own = [name for name in classes if name in shown] if len(classes) > 1 else []
    for _ in range(_MAX_ROUNDS):
        before = dict(scores)
        for name in own:
            score = best(lambda score, name=name: {**scores, name: score})  # type: ignore[misc]
            if worth({**scores, name: score}) < worth(scores):
                scores[name] = score
        if scores == before:
            break
    thresholds = at(scores)
    counted = bill(images, thresholds)
    kept = [name for name in classes if name not in shown]
    said = (
        f"validation: lowest cost, {counted.total(cost) / counted.parts:.3g} a part "
        f"({counted.escapes} escapes at {cost.escape:g}, {counted.overkill} overkill at {cost.overkill:g}, "
        f"{counted.reviews} reviews at {cost.review:g}; {counted.parts} parts)"
    )
    if kept and len(classes) > 1:
        said += f"; no defect of {', '.join(kept)} there, so that the common score holds"
    return thresholds, said
