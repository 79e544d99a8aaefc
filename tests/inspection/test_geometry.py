"""Boxes and overlaps against numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.geometry import Box, Detection, LabelledBox, iou, iou_matrix

SIDES = st.floats(0.01, 5000)
PLACES = st.floats(-5000, 5000)
BOXES = st.builds(Box, PLACES, PLACES, SIDES, SIDES)


def test_corners_and_area_follow_from_top_left_and_sides():
    """A box at (2, 3) with sides 4 x 5 ends at (6, 8) and has an area of 20."""
    box = Box(2, 3, 4, 5)
    assert box.xyxy == (2, 3, 6, 8)
    assert box.area == 20
    assert Box.from_xyxy(2, 3, 6, 8) == box


@pytest.mark.parametrize(
    "values", [(0, 0, 0, 1), (0, 0, 1, 0), (0, 0, -1, 1), (math.nan, 0, 1, 1), (0, math.inf, 1, 1), (0, 0, math.inf, 1)]
)
def test_a_degenerate_box_is_never_born(values):
    """A box with a side of zero or less, or a number that is not finite, cannot be created."""
    with pytest.raises(ValueError, match="a box needs"):
        Box(*values)


def test_swapped_corners_are_refused():
    """Corners in the wrong order are an error; they are not swapped silently."""
    with pytest.raises(ValueError, match="positive"):
        Box.from_xyxy(5, 5, 1, 1)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(1, 1, 2, 2), Box(1, 1, 2, 2)),
        (Box(-5, -5, 10, 10), Box(0, 0, 5, 5)),
        (Box(95, 40, 10, 20), Box(95, 40, 5, 10)),
        (Box(-10, -10, 200, 200), Box(0, 0, 100, 50)),
        (Box(100, 0, 5, 5), None),
        (Box(-5, 0, 5, 5), None),
        (Box(10, 60, 5, 5), None),
    ],
)
def test_a_box_is_clipped_to_the_image(box, expected):
    """The image is 100 x 50; a box that touches the edge from outside leaves nothing."""
    assert box.clipped(100, 50) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (Box(0, 0, 10, 10), Box(0, 0, 10, 10), 1.0),
        (Box(0, 0, 10, 10), Box(5, 0, 10, 10), 50 / 150),
        (Box(0, 0, 10, 10), Box(5, 5, 10, 10), 25 / 175),
        (Box(0, 0, 10, 10), Box(2, 2, 5, 5), 25 / 100),
        (Box(0, 0, 10, 10), Box(10, 0, 10, 10), 0.0),
        (Box(0, 0, 10, 10), Box(50, 50, 1, 1), 0.0),
    ],
)
def test_overlap_by_hand(a, b, expected):
    """The same box, half, a corner, inside, touching and apart give the same for two boxes and as a matrix."""
    assert iou(a, b) == pytest.approx(expected, abs=1e-12)
    assert iou_matrix(np.array([a.xyxy]), np.array([b.xyxy])) == pytest.approx(np.array([[expected]]), abs=1e-12)


def test_the_matrix_has_a_row_for_each_of_the_first_boxes():
    """Two boxes against three give (2, 3), and no box against some gives no row."""
    a = np.array([[0, 0, 10, 10], [0, 0, 1, 1]], dtype=float)
    b = np.array([[0, 0, 10, 10], [0, 0, 1, 1], [20, 20, 30, 30]], dtype=float)
    assert iou_matrix(a, b).tolist() == [[1.0, 0.01, 0.0], [0.01, 1.0, 0.0]]
    assert iou_matrix(np.zeros((0, 4)), b).shape == (0, 3)
    assert iou_matrix(a, np.zeros((0, 4))).shape == (2, 0)


def test_two_empty_boxes_overlap_by_nothing():
    """The overlap is 0, without a division by zero and without a warning."""
    empty = np.array([[3.0, 3.0, 3.0, 3.0]])
    assert iou_matrix(empty, empty).tolist() == [[0.0]]


@given(BOXES, BOXES)
def test_overlap_is_symmetric_and_bounded(a, b):
    """For any two boxes the overlap lies in 0..1, is the same both ways, and agrees with the matrix."""
    assert 0.0 <= iou(a, b) <= 1.0 + 1e-9
    assert iou(a, b) == pytest.approx(iou(b, a), abs=1e-9)
    assert iou(a, b) == pytest.approx(iou_matrix(np.array([a.xyxy]), np.array([b.xyxy]))[0, 0], abs=1e-6)


@given(BOXES, st.floats(1, 5000), st.floats(1, 5000))
def test_a_clipped_box_lies_inside_and_is_clipped_for_good(box, width, height):
    """A clipped box lies inside the image, is no larger than before, and clipping it again changes nothing."""
    clipped = box.clipped(width, height)
    if clipped is not None:
        x1, y1, x2, y2 = clipped.xyxy
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= width + 1e-6
        assert y2 <= height + 1e-6
        assert clipped.area <= box.area * (1 + 1e-9) + 1e-9


def test_a_score_outside_of_0_to_1_and_a_class_without_a_name_are_refused():
    """Such a detection or label cannot be created."""
    with pytest.raises(ValueError, match="score"):
        Detection("scratch", 1.2, Box(0, 0, 1, 1))
    with pytest.raises(ValueError, match="score"):
        Detection("scratch", math.nan, Box(0, 0, 1, 1))
    with pytest.raises(ValueError, match="class name"):
        LabelledBox("", Box(0, 0, 1, 1))
