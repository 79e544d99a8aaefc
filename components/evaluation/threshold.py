"""The choice of the operating threshold, by the use case's rule, on the validation split and never on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.evaluation.metrics import Scored, part_rates
from components.evaluation.threshold_by_cost import choose_by_cost
from components.stores.models.evaluation_report import Rate
from components.use_case import Operating
from inspection.outputs import ANOMALY_MAP, BOXES
from inspection.verdict import ClassThreshold


def choose(
    images: Sequence[Scored], classes: Sequence[str], rule: Operating, output: str = BOXES
) -> tuple[Mapping[str, ClassThreshold], str]:
    """Choose one score for all classes; returns the thresholds, and in words how they were chosen.

    Where the rule has costs, `choose_by_cost` chooses a score for each class. Otherwise:

    Of the scores whose escape rate is at most the bound, the rule takes the one with the lowest overkill; among equals
    the lowest escape rate, and then the one nearest the default. Where no score keeps the bound, it takes the lowest
    escape rate. Without good parts nobody can ask for overkill: the rule takes the highest score that keeps the bound,
    or the highest with the lowest escape rate. Only without defective parts it takes the default.

    output: of the model. Of an anomaly map, good parts alone say something: see `_by_good_parts`.
    """
    grid = [
        round(rule.min_score + step * 0.01, 4) for step in range(round((rule.max_score - rule.min_score) * 100) + 1)
    ]
    measured = [(score, *part_rates(images, thresholds_at(score, classes, rule))) for score in grid]
    if output == ANOMALY_MAP and measured and not measured[0][1].n and measured[0][2].n:
        score, said = _by_good_parts([(score, overkill) for score, _, overkill in measured], rule)
        return thresholds_at(score, classes, rule), f"validation: {said}"
    if not measured or not measured[0][1].n:
        return (
            thresholds_at(rule.default_score, classes, rule),
            "default: the validation split has no defective part, so that no escape could be measured",
        )
    if rule.cost is not None:
        return choose_by_cost(images, classes, rule, rule.cost, grid, lambda scores: _each_at(scores, rule))
    within = [row for row in measured if (row[1].value or 0.0) <= rule.max_escape_rate]
    bound = f"escape <= {rule.max_escape_rate}"
    if not measured[0][2].n:
        # Overkill falls as the score rises: the highest score is the most that is known in favour of good parts.
        best = within[-1] if within else min(measured, key=lambda row: (row[1].value or 0.0, -row[0]))
        said = f"highest score with {bound}" if within else f"no score keeps {bound}; lowest escape taken"
        said += "; overkill could not be asked, because the validation split has no good part"
    elif within:
        best = min(within, key=lambda row: (row[2].value or 0.0, row[1].value or 0.0, abs(row[0] - rule.default_score)))
        said = f"lowest overkill with {bound}"
    else:
        best = min(measured, key=lambda row: (row[1].value or 0.0, row[2].value or 0.0, row[0]))
        said = f"no score keeps {bound}; lowest escape taken"
    return thresholds_at(best[0], classes, rule), f"validation: {said}"


def _by_good_parts(measured: Sequence[tuple[float, Rate]], rule: Operating) -> tuple[float, str]:
    """The lowest score, from the default on, that keeps the false-alarm rate on good parts, and how it was chosen.

    The training calibrated the scores so that few good parts reach the default. A lower threshold would rest on the few
    parts of the validation split alone.
    """
    high_enough = [row for row in measured if row[0] >= rule.default_score] or [measured[-1]]
    keeping = [row for row in high_enough if (row[1].value or 0.0) <= rule.max_false_alarm_rate]
    score, overkill = keeping[0] if keeping else high_enough[-1]
    asked = f"overkill <= {rule.max_false_alarm_rate}"
    said = (
        f"lowest score from {rule.default_score} on with {asked}"
        if keeping
        else f"no score keeps {asked}; highest taken"
    )
    return score, f"{said}: overkill {overkill} of good parts; no defective part, so that escape is not measurable"


def thresholds_at(score: float, classes: Sequence[str], rule: Operating) -> dict[str, ClassThreshold]:
    """The same `fail` score for each class; `uncertain` is the rule's share of it."""
    return _each_at(dict.fromkeys(classes, score), rule)


def _each_at(scores: Mapping[str, float], rule: Operating) -> dict[str, ClassThreshold]:
    return {
        name: ClassThreshold(fail=score, uncertain=round(score * rule.uncertain_ratio, 4))
        for name, score in scores.items()
    }
