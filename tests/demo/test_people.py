"""The stand-ins of the demo: what they draw."""

from __future__ import annotations

import pytest

from demo.people import Labeler
from inspection.geometry import Box, LabelledBox

TRUTH = (LabelledBox("scratch", Box(10, 10, 20, 5)), LabelledBox("scratch", Box(60, 40, 10, 10)))


@pytest.mark.parametrize(
    ("careless_with", "note", "drawn"),
    [
        (None, None, 1),
        (frozenset({"a" * 64}), None, 1),
        (frozenset({"b" * 64}), None, 2),
        (None, "1 of 2 marks have no box", 2),
    ],
    ids=["any image", "this image", "another image", "the second try"],
)
def test_a_box_is_forgotten_only_at_the_first_try_and_only_in_images_of_the_careless_set(careless_with, note, drawn):
    """Each rejection costs two more labeling runs, so images that come back to people are drawn with care."""
    labeler = Labeler("http://127.0.0.1:9", "token", {}, forgets=1.0, careless_with=careless_with)
    data = {"sha256": "a" * 64, "width": 100, "height": 80} | ({"note": note} if note else {})
    assert len(labeler._work({"data": data}, TRUTH)) == drawn
