"""Rates by class, camera and size, by hand; curves and confusion."""

from dataclasses import replace

import pytest

from components.evaluation.bootstrap import paired_difference
from components.evaluation.curves import NOTHING, Curves, draw_curves
from components.evaluation.examples import choose_examples
from components.evaluation.golden import choose as choose_golden
from components.evaluation.matching import Scored
from components.evaluation.metrics import score
from inspection.geometry import Box, Detection, LabelledBox
from inspection.verdict import ClassThreshold

CLASSES = ("scratch", "dent")
HALF = {name: ClassThreshold(0.5, 0.25) for name in CLASSES}
# Of 1000 x 1000 pixels: 100 (small), 10000 (medium), 40000 (large).
SMALL, MEDIUM, LARGE = Box(10, 10, 10, 10), Box(200, 200, 100, 100), Box(500, 500, 200, 200)


def image(labels=(), found=(), *, group, camera=""):
    """labels: (class, box); found: (class, score, box)."""
    return Scored(
        group, 1000, 1000, tuple(LabelledBox(*label) for label in labels), tuple(Detection(*d) for d in found), camera
    )


SPLIT = [
    image([("scratch", SMALL)], [("scratch", 0.9, SMALL)], group="p1", camera="a"),
    image([("scratch", SMALL), ("dent", LARGE)], [("scratch", 0.3, SMALL)], group="p2", camera="a"),
    image([("dent", MEDIUM)], [("dent", 0.8, MEDIUM), ("scratch", 0.7, SMALL)], group="p3", camera="b"),
    image([], [("dent", 0.6, LARGE)], group="p4", camera="b"),
    image([], [("dent", 0.4, LARGE)], group="p5", camera="b"),
    image([], [], group="p1", camera="b"),
]


def counts(slice_):
    return {
        name: (getattr(slice_, name).count, getattr(slice_, name).n)
        for name in ("escape", "overkill", "recall", "precision") if hasattr(slice_, name)
    }  # fmt: skip


def test_rates_by_class():
    """p2 escapes and has defects of both classes; the good p4 has a false dent; p3 is found by its dent."""
    found = score(SPLIT, CLASSES, HALF).by_class
    assert counts(found["scratch"]) == {"escape": (1, 2), "overkill": (0, 2), "recall": (1, 2), "precision": (1, 2)}
    assert counts(found["dent"]) == {"escape": (1, 2), "overkill": (1, 2), "recall": (1, 2), "precision": (1, 2)}
    assert found["scratch"].map50 is not None


def test_rates_by_camera_are_those_of_its_photographs_alone():
    """p1 is defective for camera a; for camera b, which sees its other side, it is good."""
    found = score(SPLIT, CLASSES, HALF).by_camera
    assert counts(found["a"]) == {"escape": (1, 2), "overkill": (0, 0), "recall": (1, 3)}
    assert counts(found["b"]) == {"escape": (0, 1), "overkill": (1, 3), "recall": (1, 1)}


def test_rates_by_reason_of_capture_tell_the_line_from_what_was_chosen():
    """Of two doubted parts one goes to a person again; the control image alone says what the line would see."""
    images = [
        replace(image([], [("dent", 0.3, LARGE)], group="q1"), reasons=("uncertain",)),
        replace(image([("dent", LARGE)], [("dent", 0.6, LARGE)], group="q2"), reasons=("objection", "uncertain")),
        replace(image([], [], group="q3"), reasons=("control",)),
        image([], [], group="q4"),
    ]
    found = score(images, CLASSES, HALF).by_reason
    assert set(found) == {"control", "objection", "uncertain"}
    assert (found["uncertain"].review.count, found["uncertain"].review.n) == (1, 2)
    assert (found["control"].review.count, found["control"].review.n) == (0, 1)
    assert counts(found["objection"])["escape"] == (0, 1)
    assert score(SPLIT, CLASSES, HALF).by_reason == {}


def test_rates_by_size_of_the_defect():
    """A part counts with the size of its largest defect; a false alarm counts with its own size."""
    found = score(SPLIT, CLASSES, HALF).by_size
    assert counts(found["small"]) == {"escape": (0, 1), "overkill": (0, 2), "recall": (1, 2)}
    assert counts(found["medium"]) == {"escape": (0, 1), "overkill": (0, 2), "recall": (1, 1)}
    assert counts(found["large"]) == {"escape": (1, 1), "overkill": (1, 2), "recall": (0, 1)}


def test_a_split_that_tells_no_camera_has_no_rates_by_camera():
    """Without cameras there are no rates by camera.

    A class without a label has no mAP, but its false alarms are counted.
    """
    found = score([image([], [("dent", 0.6, LARGE)], group="p")], CLASSES, HALF)
    assert found.by_camera == {}
    assert found.by_class["dent"].map50 is None
    assert counts(found.by_class["dent"])["overkill"] == (1, 1)


def test_what_was_taken_for_what():
    """The confusion has a scratch detected as a dent, a missed defect, and a dent where nothing is."""
    images = [
        image([("scratch", SMALL), ("scratch", MEDIUM)], [("dent", 0.9, SMALL), ("dent", 0.8, LARGE)], group="p"),
        image([("dent", LARGE)], [("dent", 0.9, LARGE)], group="q"),
    ]
    curves = draw_curves(images, CLASSES, HALF)
    assert curves.categories == ("scratch", "dent", NOTHING)
    assert curves.confusion == ((0, 1, 1), (0, 1, 0), (0, 1, 0))
    assert Curves.from_json(curves.to_json()) == curves


def test_the_roc_runs_over_parts_by_falling_score():
    """With scores 0.9 and 0.3 (defective), 0.6 and 0 (good), one part is caught, then one accused, then the rest."""
    images = [
        image([("dent", LARGE)], [("dent", 0.9, LARGE)], group="b1"),
        image([("dent", LARGE)], [("dent", 0.3, LARGE)], group="b2"),
        image([], [("dent", 0.6, LARGE)], group="g1"),
        image([], [], group="g2"),
    ]
    overkill, caught, scores = draw_curves(images, CLASSES, HALF).roc
    assert scores == [1.0, 0.9, 0.6, 0.3, 0.0]
    assert overkill == [0.0, 0.0, 0.5, 0.5, 1.0]
    assert caught == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert draw_curves(images[:2], CLASSES, HALF).roc == ([], [], [])


def many(scores, parts=30):
    """One part for each label; `scores(n)` gives the score of the model's detection."""
    return [
        image([("dent", LARGE)], [("dent", scores(n), LARGE), ("dent", 0.5, SMALL)], group=f"p{n}")
        for n in range(parts)
    ]


def test_a_model_against_itself_differs_by_nothing_with_certainty():
    """In each resample both sides have the same parts, so that the difference and its interval are 0."""
    found = paired_difference(many(lambda n: 0.9), many(lambda n: 0.9), CLASSES)
    assert (found.value, found.low, found.high, found.parts) == (0.0, 0.0, 0.0, 30)


def test_a_model_that_is_worse_on_most_parts_is_worse_beyond_the_interval():
    """The whole interval lies below 0; with the models swapped it lies above. The same seed gives the same interval."""
    good, bad = many(lambda n: 0.9), many(lambda n: 0.9 if n % 3 == 0 else 0.1)
    worse = paired_difference(bad, good, CLASSES)
    assert worse.low < worse.value < worse.high < 0
    assert paired_difference(good, bad, CLASSES).low > 0
    assert paired_difference(bad, good, CLASSES) == worse


def test_a_difference_on_one_part_of_many_is_within_the_interval():
    """A difference that one part makes comes and goes with that part, so that the interval contains 0."""
    good, bad = many(lambda n: 0.9), many(lambda n: 0.1 if n == 7 else 0.9)
    found = paired_difference(bad, good, CLASSES)
    assert found.value < 0
    assert found.high == 0.0


def test_photographs_of_one_part_are_drawn_together():
    """The interval of thirty photographs of two parts is as wide as two parts make it."""
    good = [image([("dent", LARGE)], [("dent", 0.9, LARGE)], group=f"p{n % 2}") for n in range(30)]
    bad = [image([("dent", LARGE)], [("dent", 0.9, LARGE)] if n % 2 else [], group=f"p{n % 2}") for n in range(30)]
    found = paired_difference(bad, good, CLASSES)
    assert found.parts == 2
    assert (found.low, found.high) == pytest.approx((-1.0, 0.0))


def test_nothing_labelled_is_nothing_to_compare():
    """A split without a label has no mAP, so the paired difference is None."""
    assert paired_difference([image(group="p")], [image(group="p")], CLASSES) is None


def test_examples_are_the_most_telling_of_each_kind():
    """First come the best find, misses of escaped parts, and the false alarm with the highest score."""
    found = {(example.kind, example.index): example.caption for example in choose_examples(SPLIT, HALF, each=2)}
    assert list(found) == [("best", 0), ("miss", 1), ("false-alarm", 2), ("false-alarm", 3)]
    assert found["miss", 1] == "part p2: 2 of 2 missed (dent, scratch); the part escaped"
    assert "scratch 0.70 beside true ones" in found["false-alarm", 2]
    assert "dent 0.60 on a good image" in found["false-alarm", 3]


def test_the_faint_golden_sample_is_the_weakest_that_is_still_caught():
    """A score of 0.2 is below the threshold 0.5, so that its image is no golden sample of a faint defect."""
    images = [image([("dent", LARGE)], [("dent", s, LARGE)], group=f"p{s}") for s in (0.9, 0.2, 0.55, 0.7)]
    assert choose_golden(images, faint_from=0.5) == [0, 2]


def test_a_golden_sample_holds_for_every_model_of_the_release():
    """An image that one model does not reproduce is passed over; where no image holds, the first is taken."""
    images = [image([("dent", LARGE)], [("dent", s, LARGE)], group=f"p{s}") for s in (0.9, 0.8, 0.55, 0.6)]
    assert choose_golden(images, faint_from=0.5, holds=lambda index: index not in (0, 2)) == [1, 3]
    assert choose_golden(images, faint_from=0.5, holds=lambda index: False) == [0, 2]
