"""Thresholds by cost: counted by hand on a few parts, each class with a score of its own."""

from __future__ import annotations

import pytest

from components.evaluation.matching import Scored
from components.evaluation.threshold import choose
from components.evaluation.threshold_by_cost import Bill, bill
from components.use_case import Cost, Operating, UseCaseError, parse_use_case
from inspection.geometry import Box, Detection, LabelledBox
from inspection.verdict import ClassThreshold
from tests.components.test_use_case import changed

BOX = Box(10, 10, 20, 20)
CLASSES = ("scratch", "dent")


def part(group, defect=None, **scores):
    """A part with a labelled defect of a class, and the model's score for each class."""
    return Scored(
        group, 100, 100, (LabelledBox(defect, BOX),) if defect else (),
        tuple(Detection(name, score, BOX) for name, score in scores.items()),
    )  # fmt: skip


def rule(**values):
    return Operating(**{"uncertain_ratio": 1.0, "cost": Cost(escape=10, overkill=1)} | values)


PARTS = [
    *(part(f"s{n}", "scratch", scratch=0.6) for n in range(3)),
    *(part(f"d{n}", "dent", dent=0.3) for n in range(3)),
    *(part(f"g{n}", None, scratch=0.45, dent=0.2) for n in range(4)),
]
"""Scratches are found at 0.6 and imagined at 0.45, dents found at 0.3 and imagined at 0.2: no common score fits."""


def test_each_class_gets_the_score_that_costs_least():
    """Scratches above 0.45, dents from 0.2 to 0.3: nothing is judged wrongly, and the source says what it cost."""
    thresholds, source = choose(PARTS, CLASSES, rule())
    assert 0.45 < thresholds["scratch"].fail <= 0.6
    assert 0.2 < thresholds["dent"].fail <= 0.3
    assert source == "validation: lowest cost, 0 a part (0 escapes at 10, 0 overkill at 1, 0 reviews at 0; 10 parts)"
    common, said = choose(PARTS, CLASSES, rule(cost=None, max_escape_rate=0.0))
    assert common["scratch"] == common["dent"]
    assert said == "validation: lowest overkill with escape <= 0.0"


@pytest.mark.parametrize(("escape", "overkill", "fails"), [(10, 1, True), (1, 10, False)])
def test_the_dearer_mistake_is_avoided(escape, overkill, fails):
    """A bad and two good parts with the same score: where escapes are dear they all fail, else they all pass."""
    parts = [part("b", "scratch", scratch=0.5), part("g1", scratch=0.5), part("g2", scratch=0.5)]
    thresholds, _ = choose(parts, ("scratch",), rule(cost=Cost(escape=escape, overkill=overkill)))
    assert (thresholds["scratch"].fail <= 0.5) is fails


def test_a_review_is_cheaper_than_a_wrong_verdict():
    """With a band of doubt, the doubtful parts go to a person: three reviews at 1 instead of an escape at 10."""
    parts = [part("b", "scratch", scratch=0.5), part("g1", scratch=0.5), part("g2", scratch=0.5)]
    costs = Cost(escape=10, overkill=10, review=1)
    thresholds, source = choose(parts, ("scratch",), rule(uncertain_ratio=0.5, cost=costs))
    assert thresholds["scratch"].uncertain <= 0.5 < thresholds["scratch"].fail
    assert "3 reviews at 1" in source


def test_a_defective_part_in_review_is_no_escape_and_good_parts_are_counted_once():
    """By part, and not by picture."""
    half = {"scratch": ClassThreshold(0.5, 0.25)}
    parts = [
        part("passed", "scratch"), part("doubted", "scratch", scratch=0.3), part("found", "scratch", scratch=0.9),
        part("accused", scratch=0.9), part("accused", scratch=0.9), part("clean"), part("odd", scratch=0.3),
    ]  # fmt: skip
    assert bill(parts, half) == Bill(escapes=1, overkill=1, reviews=2, parts=6)


def test_a_class_without_a_defect_keeps_the_common_score_and_the_source_says_so():
    """Nothing speaks against a score that never finds a dent, so that its own score would only rise."""
    parts = [*PARTS[:3], *PARTS[6:]]
    thresholds, source = choose(parts, CLASSES, rule())
    assert thresholds["dent"].fail == thresholds["scratch"].fail
    assert source.endswith("no defect of dent there, so that the common score holds")


def test_without_a_defective_part_the_default_holds():
    """No escape could be priced."""
    thresholds, source = choose(PARTS[6:], CLASSES, rule(default_score=0.33))
    assert thresholds["dent"].fail == 0.33
    assert source.startswith("default: ")


def test_costs_in_the_use_case_are_positive_and_change_no_digest_where_they_are_not_said():
    """A price of nothing for an escape would pass every part."""
    assert "cost" not in parse_use_case(changed()).to_json()
    priced = parse_use_case(changed(operating={"cost": {"escape": 50, "overkill": 2.5, "review": 1}}))
    assert parse_use_case(priced.to_json()).operating.cost == Cost(escape=50, overkill=2.5, review=1)
    with pytest.raises(UseCaseError, match=r"operating\.cost\.escape"):
        parse_use_case(changed(operating={"cost": {"escape": 0, "overkill": 1}}))
