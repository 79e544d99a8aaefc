"""The stand-in verifier's eye."""

from demo.people import complaint_about
from inspection.geometry import Box, LabelledBox

A = LabelledBox("scratch", Box(10, 10, 20, 20))
B = LabelledBox("scratch", Box(100, 10, 20, 20))


def test_the_true_boxes_are_fine_in_any_order():
    """The true boxes in another order are accepted, and so is a good part without a box."""
    assert complaint_about([B, A], [A, B]) is None
    assert complaint_about([], []) is None


def test_a_missing_a_surplus_and_a_misnamed_box_are_complained_about():
    """Missing, surplus and misnamed boxes are described in words that the labeler can use."""
    assert complaint_about([A], [A, B]) == "1 of 2 marks have no box"
    assert complaint_about([A, B], [A]) == "1 boxes too many or misplaced"
    assert (
        complaint_about([LabelledBox("dent", A.box)], [A]) == "1 of 1 marks have no box; 1 boxes too many or misplaced"
    )
