"""The one rule for boxes, in pixels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.stores.labels.box_rule import Drawn, apply_rule
from inspection.geometry import Box

CLASSES = ("scratch", "dent")


def ruled(*drawn):
    return apply_rule(drawn, CLASSES, 400, 200)


def test_a_box_inside_stays_to_the_last_bit():
    """A box inside the image is kept exactly, with whole or fractional coordinates."""
    assert [b.box for b in ruled(Drawn("dent", 0.1, 0.2, 30.7, 199.8)).boxes] == [Box(0.1, 0.2, 30.7, 199.8)]
    assert ruled(Drawn("dent", 0, 0, 400, 200)).tally.counts() == {}


@pytest.mark.parametrize(
    ("drawn", "corners", "counts"),
    [
        (Drawn("dent", -10, 20, 30, 40), (0, 20, 20, 60), {"clipped": 1}),
        (Drawn("dent", 390, 190, 30, 40), (390, 190, 400, 200), {"clipped": 1}),
        (Drawn("dent", 40, 60, -30, -40), (10, 20, 40, 60), {"inverted": 1}),
        (Drawn("dent", 10, 60, -30, -40), (0, 20, 10, 60), {"inverted": 1, "clipped": 1}),
        (Drawn("dent", 100, 20, 30, 40, 90), (60, 20, 100, 50), {"rotated": 1}),
    ],
)
def test_what_can_be_kept_is_kept_and_counted(drawn, corners, counts):
    """A box that can be kept is kept with the corners that were worked out by hand, and the change is counted."""
    found = ruled(drawn)
    assert found.boxes[0].box.xyxy == pytest.approx(corners)
    assert found.tally.counts() == counts
    assert found.tally.left_out == 0


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (Drawn("dent", 1, 1, 0, 5), "no_area"),
        (Drawn("dent", 400, 0, 5, 5), "outside"),
        (Drawn("dent", -50, -50, 5, 5), "outside"),
        (Drawn("dent", float("nan"), 0, 5, 5), "not_a_number"),
        (Drawn("dent", 0, 0, float("inf"), 5), "not_a_number"),
        (Drawn("dent", 10**400, 0, 5, 5), "not_a_number"),
        (Drawn("dent", 1.7e308, 0, 1.7e308, 5), "not_a_number"),
        (Drawn("dent", "1", 0, 5, 5), "not_a_number"),
        (Drawn("dent", True, 0, 5, 5), "not_a_number"),
        (Drawn("dent", 0, 0, 5), "not_a_number"),
        (Drawn("rust", 0, 0, 5, 5), "unknown_class"),
        (Drawn(None, 0, 0, 5, 5), "unknown_class"),
        (Drawn("dent", 0, 0, 5, 5, is_rectangle=False), "not_a_rectangle"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_counted(drawn, reason):
    """A rectangle that cannot be used is counted by its reason; the box beside it is kept."""
    found = ruled(drawn, Drawn("dent", 0, 0, 5, 5))
    assert (len(found.boxes), found.tally.counts(), found.tally.left_out) == (1, {reason: 1}, 1)


anything = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.floats(), st.booleans(), st.lists(st.none()))


@given(values=st.tuples(anything, anything, anything, anything, anything))
def test_whatever_comes_becomes_a_box_inside_the_picture_or_is_counted(values):
    """Any values give a box inside the picture or are counted as left out, without an exception."""
    found = ruled(Drawn("dent", *values))
    assert len(found.boxes) + found.tally.left_out == 1
    for labelled in found.boxes:
        x1, y1, x2, y2 = labelled.box.xyxy
        assert (x1, y1) >= (0, 0)
        assert x2 <= 400 + 1e-6
        assert y2 <= 200 + 1e-6
