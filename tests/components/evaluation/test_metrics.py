"""Scores of detections against labels, by hand."""

import pytest

from components.evaluation.golden import choose as choose_golden
from components.evaluation.metrics import Scored, average_precision, part_rates, precision_recall, score
from components.evaluation.threshold import choose, thresholds_at
from components.use_case import Operating
from inspection.geometry import Box, Detection, LabelledBox
from inspection.verdict import ClassThreshold

HALF = {"scratch": ClassThreshold(0.5, 0.25), "dent": ClassThreshold(0.5, 0.25)}
A, B, FAR = Box(10, 10, 20, 20), Box(60, 10, 20, 20), Box(10, 60, 20, 20)


def image(labels=(), found=(), *, group="g", name="scratch"):
    """found: (score, box) or (score, box, class)."""
    return Scored(
        group, 100, 100, tuple(LabelledBox(name, box) for box in labels),
        tuple(Detection(item[2] if len(item) > 2 else name, item[0], item[1]) for item in found),
    )  # fmt: skip


def ap(*images, classes=("scratch",)):
    return average_precision(images, classes)


def test_finding_everything_exactly_is_one():
    """Exact boxes have an average precision of 1 at every IoU."""
    assert ap(image([A], [(0.9, A)]), image([B], [(0.4, B)]))["scratch"] == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("found", [[], [(0.9, FAR)]])
def test_finding_nothing_or_only_elsewhere_is_zero(found):
    """Without detections, and with none that matches a label, average precision is 0."""
    assert ap(image([A], found))["scratch"] == (0.0, 0.0)


def test_half_of_the_labels_is_51_of_101_points():
    """Recall stops at 0.5: precision is 1 at the 51 recall points 0.00 to 0.50, and 0 above."""
    assert ap(image([A, B], [(0.9, A)]))["scratch"][0] == pytest.approx(51 / 101)


def test_a_false_alarm_above_the_hit_halves_the_precision():
    """One miss at 0.9, one hit at 0.8: precision is 1/2 at every recall."""
    assert ap(image([A], [(0.9, FAR), (0.8, A)]))["scratch"][0] == pytest.approx(0.5)


def test_a_false_alarm_below_the_hit_costs_nothing():
    """A false alarm after all labels were found does not lower average precision."""
    assert ap(image([A], [(0.9, A), (0.8, FAR)]))["scratch"][0] == pytest.approx(1.0)


def test_hit_miss_hit_by_hand():
    """Precision 1 up to recall 0.5 (51 points), then 2/3 (50 points)."""
    found = ap(image([A, B], [(0.9, A), (0.8, FAR), (0.7, B)]))["scratch"][0]
    assert found == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_the_same_label_found_twice_is_one_hit():
    """The second detection is a false alarm and lowers the precision at the next hit."""
    found = ap(image([A, B], [(0.9, A), (0.8, A), (0.7, B)]))["scratch"][0]
    assert found == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_an_overlap_of_0_6_counts_at_the_lower_bounds_only():
    """IoU 0.6 passes 0.50, 0.55 and 0.60: three of ten."""
    label = Box(0, 0, 10, 10)
    low, all_bounds = ap(image([label], [(0.9, Box(0, 0, 10, 6))]))["scratch"]
    assert low == pytest.approx(1.0)
    assert all_bounds == pytest.approx(0.3)


def test_another_class_is_not_a_hit():
    """A dent detected where a scratch is: each class is judged on its own, and one without labels is None."""
    found = ap(image([A], [(0.9, A, "dent")]), classes=("scratch", "dent"))
    assert found == {"scratch": (0.0, 0.0), "dent": None}


def test_a_class_keeps_its_own_score():
    """Scratches that are all found keep a score of 1 beside dents that are never found."""
    images = (image([A], [(0.9, A)]), image([B], [], name="dent"))
    assert ap(*images, classes=("scratch", "dent")) == {"scratch": pytest.approx((1.0, 1.0)), "dent": (0.0, 0.0)}
    assert score(images, ("scratch", "dent"), HALF).map50 == pytest.approx(0.5)


def test_a_split_without_labels_has_no_precision_to_speak_of():
    """The classes have None and the mean is 0, so that the split passes no gate."""
    assert ap(image([], [(0.9, A)])) == {"scratch": None}
    scores = score([image([], [(0.9, A)])], ("scratch",), HALF)
    assert scores.map50 == 0.0
    assert scores.map50_by_class == {}


def test_precision_and_recall_at_the_threshold():
    """Two hits, one false alarm and one miss are counted; detections below the threshold are not."""
    images = [
        image([A, B], [(0.9, A), (0.8, FAR), (0.6, B), (0.4, FAR)]),
        image([A], [(0.49, A)]),
    ]
    assert precision_recall(images, HALF) == pytest.approx((2 / 3, 2 / 3))


def test_a_label_is_matched_once():
    """The second detection on a label is a false alarm."""
    assert precision_recall([image([A], [(0.9, A), (0.8, A)])], HALF) == pytest.approx((0.5, 1.0))


def test_precision_without_detections_and_recall_without_labels_are_zero():
    """Precision without detections and recall without labels are 0, without a division by zero."""
    assert precision_recall([image([A])], HALF) == (0.0, 0.0)
    assert precision_recall([image()], HALF) == (0.0, 0.0)


def test_a_part_is_defective_where_any_of_its_photographs_is():
    """One of two photographs of p1 shows its defect; p2 escapes; p3 is good and clean; p4 is good and accused."""
    images = [
        image([A], [(0.3, A)], group="p1"), image([], [(0.9, B)], group="p1"),
        image([A], [(0.49, A)], group="p2"), image([], [], group="p2"),
        image([], [(0.2, A)], group="p3"),
        image([], [(0.5, A)], group="p4"),
    ]  # fmt: skip
    escape, overkill = part_rates(images, HALF)
    assert (escape.count, escape.n) == (1, 2)
    assert (overkill.count, overkill.n) == (1, 2)


def test_parts_in_doubt_are_counted_for_the_person_who_looks_at_them():
    """p1 escapes and is uncertain, p2 escapes unseen, p3 fails in spite of a doubt, p4 is good and uncertain by one
    photograph, p5 is good and passes: two of five parts go to a person, and one of the two escapes does."""
    images = [
        image([A], [(0.3, A)], group="p1"),
        image([A], [(0.2, A)], group="p2"),
        image([A], [(0.3, A)], group="p3"), image([], [(0.9, B)], group="p3"),
        image([], [(0.25, A)], group="p4"), image([], [], group="p4"),
        image([], [], group="p5"),
    ]  # fmt: skip
    found = score(images, ("scratch",), HALF)
    assert (found.review.count, found.review.n) == (2, 5)
    assert (found.escape.count, found.escapes_in_review) == (2, 1)
    assert (found.overkill.count, found.overkill.n) == (0, 2)


def test_a_miss_that_a_false_alarm_elsewhere_hides_is_an_escape_by_location():
    """p1 is rejected only because of its other photograph, p2 because of another place, p3 for its defect, whose box is
    a little beside; p4 has two defects and one is found; p5 is not rejected at all."""
    images = [
        image([A], [], group="p1"), image([], [(0.9, B)], group="p1"),
        image([A], [(0.9, FAR)], group="p2"),
        image([A], [(0.9, Box(20, 10, 20, 20))], group="p3"),
        image([A, B], [(0.9, B)], group="p4"),
        image([A], [(0.4, A)], group="p5"),
    ]  # fmt: skip
    found = score(images, ("scratch",), HALF)
    assert (found.escape.count, found.escape.n) == (1, 5)
    assert (found.escape_by_location.count, found.escape_by_location.n) == (3, 5)


def test_rates_of_no_parts_are_not_measurable():
    """A split without good parts has no overkill rate."""
    escape, overkill = part_rates([image([A], [(0.9, A)])], HALF)
    assert (escape.count, escape.n) == (0, 1)
    assert overkill.value is None


def parts(bad, good):
    """One part for each score: defective parts have a label, good parts none."""
    return [image([A], [(s, A)], group=f"bad{i}") for i, s in enumerate(bad)] + [
        image([], [(s, A)], group=f"good{i}") for i, s in enumerate(good)
    ]


RULE = Operating(max_escape_rate=0.25, default_score=0.35, min_score=0.15, max_score=0.7)


def test_the_threshold_has_the_lowest_overkill_that_the_escapes_allow():
    """Bad 0.3 0.5 0.6 0.65: one of four may escape, so up to 0.5; good 0.2 and 0.42 are cleared above 0.42, and among
    0.43..0.50, all with one escape, the one nearest to the default is taken."""
    thresholds, source = choose(parts([0.3, 0.5, 0.6, 0.65], [0.2, 0.42]), ("scratch",), RULE)
    assert thresholds["scratch"].fail == pytest.approx(0.43)
    assert thresholds["scratch"].uncertain == pytest.approx(0.215)
    assert "lowest overkill with escape <= 0.25" in source


def test_where_no_score_keeps_the_bound_the_lowest_escape_wins():
    """Half of the bad parts have no score: the lowest threshold catches the others, and the source says so."""
    thresholds, source = choose(parts([0.05, 0.05, 0.2, 0.6], [0.4]), ("scratch",), RULE)
    assert thresholds["scratch"].fail == pytest.approx(0.15)
    assert "no score keeps escape <= 0.25" in source


def test_of_equal_overkill_the_lowest_escape_is_taken_before_the_nearest_score():
    """One of twenty bad parts scores 0.2 and no good part scores: 0.20 lets none escape, 0.35 one of twenty."""
    rule = RULE.model_copy(update={"max_escape_rate": 0.05})
    thresholds, _ = choose(parts([0.2] + [0.6] * 19, [0.0, 0.0]), ("scratch",), rule)
    assert thresholds["scratch"].fail == pytest.approx(0.20)


def test_without_good_parts_the_highest_score_that_keeps_the_bound_is_taken():
    """Half of the bad parts score 0.3: the default of 0.35 would let them escape, and 0.30 lets none escape."""
    thresholds, source = choose(parts([0.3] * 5 + [0.6] * 5, []), ("scratch",), RULE)
    assert thresholds["scratch"].fail == pytest.approx(0.30)
    assert source.startswith("validation: highest score with escape <= 0.25; overkill could not be asked")


def test_without_good_parts_and_without_a_score_that_keeps_the_bound_the_lowest_escape_is_taken():
    """Half of the bad parts have no score: of the scores that catch the others the highest is taken, and it is said."""
    thresholds, source = choose(parts([0.05, 0.05, 0.4, 0.6], []), ("scratch",), RULE)
    assert thresholds["scratch"].fail == pytest.approx(0.40)
    assert source.startswith("validation: no score keeps escape <= 0.25; lowest escape taken; overkill could not be")


@pytest.mark.parametrize("images", [parts([], [0.5]), []])
def test_a_split_without_defective_parts_takes_the_default(images):
    """Without defective parts no escape can be measured: the default score is the threshold."""
    thresholds, source = choose(images, ("scratch", "dent"), RULE)
    assert thresholds == thresholds_at(0.35, ("scratch", "dent"), RULE)
    assert source.startswith("default")


def test_golden_samples_are_a_clear_defect_a_faint_one_and_two_good_parts():
    """Images are ranked by their highest score."""
    images = parts([0.9, 0.2, 0.5], [0.3, 0.0, 0.1])
    assert choose_golden(images) == [0, 2, 4, 3]


def test_golden_samples_are_never_the_same_image_twice():
    """A tiny split gives fewer golden samples."""
    assert choose_golden(parts([0.9], [0.1])) == [0, 1]
    assert choose_golden([]) == []
