"""Percent and pixels: numbers worked out by hand, and the rule for what people draw."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.labeling.conversion import from_regions, to_region, to_regions
from inspection.geometry import Box, LabelledBox

CLASSES = ("scratch", "dent")


def region(x=10.0, y=20.0, width=30.0, height=40.0, rotation=0, names=("scratch",), kind="rectanglelabels"):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": list(names)}
    return {"type": kind, "from_name": "boxes", "to_name": "image", "value": value}


def convert(*regions):
    return from_regions(regions, CLASSES, 400, 200)


def test_percent_becomes_pixels_of_each_side():
    """10 % of 400 is 40 px across, 20 % of 200 is 40 px down, 30 % is 120 px wide, 40 % is 80 px high."""
    found = convert(region())
    assert found.boxes == (LabelledBox("scratch", Box(40.0, 40.0, 120.0, 80.0)),)
    assert found.tally.counts() == {}


def test_pixels_become_percent_of_each_side():
    """A box in pixels becomes a Label Studio region in percent of the image's width and height."""
    made = to_region(LabelledBox("dent", Box(40, 40, 120, 80)), 400, 200, region_id="a", read_only=True)
    value = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0, "rectanglelabels": ["dent"]}
    assert made["value"] == value
    assert (made["original_width"], made["original_height"], made["readonly"]) == (400, 200, True)


sides = st.integers(min_value=1, max_value=8192)
shares = st.floats(min_value=0.0, max_value=0.9)


@given(width=sides, height=sides, x=shares, y=shares, w=shares, h=shares)
def test_there_and_back_is_the_same_box(width, height, x, y, w, h):
    """Within a billionth of a pixel, and nothing counted, whatever the size of the picture."""
    box = Box(x * width, y * height, max(0.02, w * (1 - x) * width), max(0.02, h * (1 - y) * height))
    if box.x + box.width > width or box.y + box.height > height:
        return
    found = from_regions(to_regions([LabelledBox("dent", box)], width, height), CLASSES, width, height)
    assert found.tally.counts() == {}
    assert found.boxes[0].box.xyxy == pytest.approx(box.xyxy, abs=1e-9)


def test_a_box_of_the_whole_picture_is_not_counted_as_clipped():
    """Percent overshoot the border by a rounding error; that is nobody's fault."""
    found = from_regions(to_regions([LabelledBox("dent", Box(0.1, 0.1, 448.9, 299.9))], 449, 300), CLASSES, 449, 300)
    assert found.tally.counts() == {}
    assert found.boxes[0].box.xyxy[2] <= 449
    assert found.boxes[0].box.xyxy[3] <= 300


def test_a_box_over_the_border_is_clipped_and_counted():
    """-5 % of 400 px is 20 px to the left of the picture: 100 px remain of 120."""
    found = convert(region(x=-5.0))
    assert found.boxes[0].box == Box(0.0, 40.0, 100.0, 80.0)
    assert found.tally.counts() == {"clipped": 1}


def test_a_quarter_turn_becomes_the_upright_rectangle_around_it():
    """120 x 80 px, turned 90 degrees clockwise about its corner (40, 40), lies left of it: x -40..40, y 40..160."""
    found = convert(region(x=30.0, rotation=90))
    assert found.boxes[0].box.xyxy == pytest.approx((40.0, 40.0, 120.0, 160.0))
    assert found.tally.counts() == {"rotated": 1}


def test_a_turned_box_is_enclosed():
    """100 x 100 px, turned 45 degrees about (200, 20): a diamond, 141.42 px across, centred on x = 200."""
    found = convert(region(x=50.0, y=10.0, width=25.0, height=50.0, rotation=45))
    half = 100 / math.sqrt(2)
    assert found.boxes[0].box.xyxy == pytest.approx((200 - half, 20.0, 200 + half, 20 + 2 * half))


def test_an_inverted_box_is_written_the_right_way_round():
    """A box drawn from (160, 120) back to (40, 40) is read with positive sides and counted as inverted."""
    found = convert(region(x=40.0, y=60.0, width=-30.0, height=-40.0))
    assert found.boxes[0].box.xyxy == pytest.approx((40.0, 40.0, 160.0, 120.0))
    assert found.tally.counts() == {"inverted": 1}


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (region(width=0.0), "no_area"),
        (region(height=1e-9), "no_area"),
        (region(x=100.0), "outside"),
        (region(x=-40.0), "outside"),
        (region(x=float("nan")), "not_a_number"),
        (region(width=float("inf")), "not_a_number"),
        (region(y=None), "not_a_number"),
        (region(y="20"), "not_a_number"),
        (region(rotation=float("nan")), "not_a_number"),
        (region(names=("rust",)), "unknown_class"),
        (region(names=()), "unknown_class"),
        (region(names=("scratch", "dent")), "unknown_class"),
        (region(kind="ellipselabels"), "not_a_rectangle"),
        ({"type": "rectanglelabels"}, "not_a_rectangle"),
        ("text", "not_a_rectangle"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_counted(drawn, reason):
    """A region that cannot be used is counted by its reason; the box beside it is kept."""
    found = convert(drawn, region())
    assert len(found.boxes) == 1
    assert found.tally.counts() == {reason: 1}


def test_nothing_drawn_is_no_boxes():
    """An annotation without regions, as of a good part, gives no boxes."""
    assert convert().boxes == ()


@pytest.mark.parametrize(
    ("shown", "left_out"),
    [
        ({"original_width": 400, "original_height": 200, "image_rotation": 0}, 0),
        ({"original_width": None, "original_height": None, "image_rotation": None}, 0),
        ({"original_width": 400, "original_height": 200, "image_rotation": 360}, 0),
        ({"original_width": 200, "original_height": 400}, 1),
        ({"original_width": 800, "original_height": 400}, 1),
        ({"original_width": 400, "original_height": 200, "image_rotation": 90}, 1),
        ({"original_width": 400, "original_height": 200, "image_rotation": "x"}, 1),
    ],
)
def test_a_region_of_another_or_a_turned_picture_is_left_out_and_counted(shown, left_out):
    """Its percent would fall on other pixels of the image."""
    found = convert({**region(), **shown})
    assert found.tally.counts() == ({"other_picture": 1} if left_out else {})
    assert len(found.boxes) == 1 - left_out
    assert found.tally.left_out == left_out
