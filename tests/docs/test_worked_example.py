"""The worked example of the quality engineer's guide agrees with what the product computes."""

from __future__ import annotations

from dataclasses import replace

from components.evaluation.bootstrap import paired_difference
from components.evaluation.metrics import score
from components.stores.models.evaluation_report import Rate
from components.stores.models.gate import judge
from components.use_case import Gates
from inspection.verdict import decide
from tools.guides.worked_example import (
    CLASSES,
    PAGE,
    THRESHOLDS,
    champion,
    example_parts,
    example_report,
    page_with_card,
)

PAGE_TEXT = PAGE.read_text(encoding="utf-8")
ROWS = [line.split("|")[1:-1] for line in PAGE_TEXT.splitlines() if line.startswith(("| D", "| G"))]


def test_the_numbers_worked_out_by_hand_are_those_of_the_product():
    """Escape, overkill, precision, recall, mAP50 and the difference from the champion, as the page has them."""
    parts = example_parts()
    scores = score(parts, CLASSES, THRESHOLDS)
    assert (scores.escape, scores.overkill) == (Rate(count=2, n=6), Rate(count=1, n=4))
    assert (scores.review, scores.escapes_in_review) == (Rate(count=2, n=10), 1)
    assert scores.escape_by_location == Rate(count=2, n=6)
    assert (scores.precision, round(scores.recall, 3)) == (0.6, round(3 / 7, 3))
    assert abs(scores.map50 - (43 + 15 * 4 / 6 + 14 / 2) / 101) < 1e-9
    for said in (str(scores.escape), str(paired_difference(parts, champion(), CLASSES))):
        assert f"`{said}`" in PAGE_TEXT


def test_the_table_of_parts_shows_the_scores_and_verdicts_of_the_example():
    """Each row has the boxes, the highest score and the verdict that `decide` gives."""
    shown = [(row[1].strip(), row[2].strip(), row[4].strip()) for row in ROWS if len(row) == 5]
    computed = [
        (
            str(len(image.labels)),
            f"{image.detections[0].score:.2f}" if image.detections else "none",
            str(decide(image.detections, THRESHOLDS)),
        )
        for image in example_parts()
    ]
    assert shown == computed


def test_the_table_of_no_escapes_gives_the_upper_end_of_the_interval():
    """0 of n parts: the numbers of the page, and that 73 parts are the first to show less than 5 %."""
    for parts, shown in ((5, "0.43"), (10, "0.28"), (20, "0.16"), (30, "0.11"), (100, "0.037"), (300, "0.013")):
        assert f"{Rate(count=0, n=parts).interval[1]:.{len(shown) - 2}f}" == shown
        assert shown in PAGE_TEXT
    assert Rate(count=0, n=73).interval[1] < 0.05 < Rate(count=0, n=72).interval[1]


def test_the_examples_of_the_upper_end_are_what_the_gate_says():
    """0 of 5, 1 of 100 and 3 of 10 escapes under a bound of 5 % by the upper end."""
    gates = Gates(min_map50=0, max_escape_rate=0.05, max_overkill_rate=1, min_parts=5, bound="upper_95")
    scores = score(example_parts(), CLASSES, THRESHOLDS)
    for count, n in ((0, 5), (1, 100), (3, 10)):
        report = replace(example_report(), test=replace(scores, escape=Rate(count=count, n=n)))
        check = next(check for check in judge(report, gates).checks if check.name == "escape_rate")
        assert not check.passed
        assert f"| {count} of {n} escaped | `{check.value}`: " in PAGE_TEXT


def test_the_model_card_of_the_page_is_what_the_product_writes():
    """`python -m tools.guides.worked_example` writes it again after a change of the card."""
    assert page_with_card(PAGE_TEXT) == PAGE_TEXT
