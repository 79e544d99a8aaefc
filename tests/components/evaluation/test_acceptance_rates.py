"""Rates by acceptance rules: labels and detections are judged by the same rules, worked out by hand."""

from __future__ import annotations

import pytest

from components.evaluation.curves import draw_curves
from components.evaluation.examples import choose_examples
from components.evaluation.matching import Scored
from components.evaluation.metrics import part_rates, score
from components.evaluation.scoring import ModelUnderTest, evaluate
from components.evaluation.threshold import choose
from components.stores.models import acceptance_words
from components.use_case import Operating
from inspection.acceptance import Acceptance, AcceptanceRule, Severity, When
from inspection.geometry import Box, Detection, LabelledBox
from inspection.part_view import PartView, Zone
from inspection.verdict import ClassThreshold
from tests.components.evaluation.brightness_detector import MARK, brightness_model
from tests.components.evaluation.test_evaluate import instantly, pictures, use_case

__all__ = ["use_case"]

CLASSES = ("scratch", "stain")
HALF = {name: ClassThreshold(0.5, 0.25) for name in CLASSES}
LONG, SHORT, FAR = Box(10, 10, 40, 10), Box(10, 10, 10, 10), Box(80, 80, 10, 10)
UP_TO_2_MM = Acceptance(
    rules=(
        AcceptanceRule(name="long", classes=("scratch",), max_longest_side_mm=2.0),
        AcceptanceRule(name="stains", classes=("stain",), severity=Severity.NOTE),
    )
)
TENTH = PartView(mm_per_px=0.1)


def part(group, labels=(), found=(), rules=UP_TO_2_MM):
    """labels: boxes of scratches, or (class, box). found: (score, box) or (score, box, class)."""
    named = [item if isinstance(item, tuple) else ("scratch", item) for item in labels]
    return Scored(
        group, 100, 100, tuple(LabelledBox(*item) for item in named),
        tuple(Detection(item[2] if len(item) > 2 else "scratch", item[0], item[1]) for item in found),
        acceptance=rules, view=TENTH,
    )  # fmt: skip


PARTS = [
    part("bad-found", [LONG], [(0.9, LONG)]),
    part("bad-missed", [LONG], [(0.9, SHORT)]),  # found too short: it escapes
    part("bad-in-doubt", [LONG], [(0.3, LONG)]),
    part("tolerated", [SHORT], [(0.9, SHORT)]),  # its scratch is short: a good part, and passed
    part("tolerated-and-accused", [SHORT], [(0.9, LONG)]),
    part("stained", [("stain", LONG)], [(0.9, LONG, "stain")]),  # a note
    part("clean", [], [(0.3, SHORT)]),  # a doubt that the rule tolerates
]


def test_a_part_whose_defects_are_tolerated_is_good_and_one_found_too_short_escapes():
    """Three of seven parts are defective; two escape, of which one is in doubt; one of four good parts is accused."""
    found = score(PARTS, CLASSES, HALF)
    assert (found.escape.count, found.escape.n) == (2, 3)
    assert (found.overkill.count, found.overkill.n) == (1, 4)
    assert (found.review.count, found.review.n) == (1, 7)
    assert found.escapes_in_review == 1
    assert (found.escape_by_location.count, found.escape_by_location.n) == (1, 3)


def test_without_rules_the_same_parts_have_other_rates():
    """Each label is a defect then, and each detection accuses."""
    plain = [part(image.group, rules=None) for image in PARTS]
    plain = [
        Scored(image.group, 100, 100, image.labels, image.detections) for image in PARTS if plain
    ]  # fmt: skip
    escape, overkill = part_rates(plain, HALF)
    assert (escape.count, escape.n, overkill.count, overkill.n) == (1, 6, 0, 1)


def test_classes_and_sizes_count_defects_and_not_what_is_tolerated():
    """The stain is no defect of its class; its precision and recall are about boxes, and stay."""
    found = score(PARTS, CLASSES, HALF)
    assert [(found.by_class[n].escape.count, found.by_class[n].escape.n) for n in CLASSES] == [(2, 3), (0, 0)]
    assert (found.by_class["stain"].overkill.count, found.by_class["stain"].recall.count) == (0, 1)
    assert sum(size.escape.n for size in found.by_size.values()) == 3
    curves = draw_curves(PARTS, CLASSES, HALF)
    assert (len(curves.good_scores), len(curves.defective_scores)) == (4, 3)
    captions = " ".join(example.caption for example in choose_examples(PARTS, HALF))
    assert captions.count("the part escaped") == 2


def test_a_defect_that_labels_can_only_show_together_is_counted():
    """Two short scratches break a rule about their number; each alone does not."""
    two = Acceptance(rules=(AcceptanceRule(name="many", classes=("scratch",), max_count=1),))
    parts = [
        part("two", [SHORT, FAR], [(0.9, SHORT), (0.9, FAR)], two),
        part("one", [SHORT], [(0.9, SHORT)], two),
        part("one-missed", [SHORT, FAR], [(0.9, FAR)], two),
    ]
    escape, overkill = part_rates(parts, HALF)
    assert (escape.count, escape.n, overkill.count, overkill.n) == (1, 2, 0, 1)


def test_labels_that_cannot_be_measured_are_not_good():
    """A picture of another size has no scale: its part counts as defective, and is uncertain."""
    image = Scored(
        "p", 50, 50, (LabelledBox("scratch", SHORT),), (Detection("scratch", 0.9, SHORT),), acceptance=UP_TO_2_MM,
        view=PartView(mm_per_px=0.1, size_px=(100, 100)).of_picture(50, 50),
    )  # fmt: skip
    found = score([image], CLASSES, HALF)
    assert (found.escape.count, found.escape.n, found.escapes_in_review) == (1, 1, 1)


def test_the_threshold_is_chosen_by_the_rules_too():
    """A short scratch with a high score accuses nobody, so that the threshold need not lie above it."""
    parts = [part(f"b{n}", [LONG], [(0.4, LONG)]) for n in range(3)]
    parts += [part(f"g{n}", [], [(0.6, SHORT)]) for n in range(3)]
    thresholds, source = choose(parts, CLASSES, Operating(max_escape_rate=0.0))
    assert 0.15 <= thresholds["scratch"].fail <= 0.4
    assert source == "validation: lowest overkill with escape <= 0.0"


def test_an_evaluation_scores_by_the_rules_of_its_use_case_and_says_which(use_case):
    """Marks of half the picture are tolerated, so that no part of the dataset is defective."""
    changed = use_case.model_validate(
        use_case.model_dump(mode="json", exclude_none=True)
        | {
            "acceptance": {
                "rules": [{"name": "big", "classes": ["scratch"], "max_longest_side_mm": 10.0}],
                "views": {"*": {"mm_per_px": 0.1}},
            }
        }
    )
    found = pictures()
    inputs = (ModelUnderTest(brightness_model()), found.manifest(changed))
    report = evaluate(*inputs, changed, found.fetch, measure=instantly(fp32=10.0)).report
    assert max(MARK.width, MARK.height) * 0.1 <= 10.0
    assert report.acceptance == changed.acceptance.to_acceptance()
    assert (report.test.escape.n, report.test.overkill.n, report.test.overkill.count) == (0, 8, 0)
    plain = evaluate(*inputs, use_case, found.fetch, measure=instantly(fp32=10.0)).report
    assert (plain.acceptance, plain.test.escape.n) == (None, 4)
    assert b'"acceptance"' not in plain.to_json()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "no defect"),
        ({"max_longest_side_mm": 2.0, "max_count": 1}, "longest side up to 2 mm and up to 1 defect"),
        (
            {"max_area_px2": 40, "max_total_area_mm2": 1.5, "when": When.ALL},
            "area up to 40 px² or area of all together up to 1.5 mm²",
        ),
        ({"min_distance_mm": 3, "zone": "face"}, "at least 3 mm apart, in the zone face"),
        ({"max_count": 2, "min_score": 0.6}, "up to 2 defects, scores from 0.6 on"),
    ],
)
def test_a_rule_is_told_in_words(values, said):
    """The model card and the report page say what is tolerated, also of a class that no rule names."""
    zones = {"face": Zone(points=((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))}
    rules = Acceptance(rules=(AcceptanceRule(name="r", classes=("scratch",), **values),), zones=zones)
    assert acceptance_words.rows(rules, CLASSES) == [
        ("r", "scratch", "reject", said),
        ("stain", "stain", "reject", "no defect"),
    ]
