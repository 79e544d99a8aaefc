"""What follows from a first look: each value, with a reason, in a file that `kizu` accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.first_look.findings import lines_of
from components.first_look.proposal import DEFECT_PX, propose
from components.first_look.text import use_case_text
from components.use_case import parse_use_case
from tests.components.first_look.photographs import findings, labels


def use_case(found, **more):
    text = use_case_text(propose("disc", found, **more), lines_of(found), "photographs")
    return parse_use_case(text), text


@pytest.mark.parametrize(
    ("width", "height", "side", "expected"),
    [
        (640, 640, 32 / 640, (416, 416)),  # 32 pixels become 20: 400, and the next multiple of 32
        (1600, 1200, 160 / 1600, (256, 192)),  # large defects: the least size
        (450, 300, 15 / 450, (480, 320)),  # defects of 15 pixels: the whole picture
        (96, 64, 0.5, (96, 64)),  # a small picture keeps its size
    ],
)
def test_the_input_keeps_nine_of_ten_defects_large_enough(width, height, side, expected):
    """The longer side of a defect keeps 20 pixels where the picture has them; sides are multiples of 32."""
    found, _ = use_case(findings(width=width, height=height, labels=labels(side=side)))
    assert (found.training.image_width, found.training.image_height) == expected
    scale = min(found.training.image_width / width, found.training.image_height / height)
    assert side * width * scale >= min(DEFECT_PX, side * width) - 1e-6


def test_without_labels_the_input_is_usual_and_the_file_says_what_it_can_show():
    """Of 1920 pixels 640 are taken, at which a defect must have 60 pixels on the picture."""
    found, text = use_case(findings(width=1920, height=1080))
    assert (found.training.image_width, found.training.image_height) == (640, 384)
    assert "which are 60 pixels of your pictures" in " ".join(text.replace("#", " ").split())


@pytest.mark.parametrize(
    ("side_px", "scale", "overlap_px"),
    [
        (10, 1.0, 32),  # ten pixels need all of the picture's
        (40, 0.5, 32),  # forty pixels keep twenty at half of its sides
    ],
)
def test_defects_too_small_for_one_input_are_looked_for_in_tiles(side_px, scale, overlap_px):
    """On 4000 x 3000 pixels; the overlap is at least that of a long defect."""
    found, text = use_case(findings(width=4000, height=3000, labels=labels(side=side_px / 4000)))
    assert (found.training.image_width, found.training.image_height) == (640, 640)
    assert (found.tiles.scale, found.tiles.overlap_px) == (scale, overlap_px)
    assert f"need {round(4000 * scale)} pixels on the longer side" in " ".join(text.replace("#", " ").split())


def test_a_large_picture_with_large_defects_needs_no_tiles():
    """The whole picture is scaled down, and the file says so."""
    found, text = use_case(findings(width=4000, height=3000, labels=labels(side=0.1)))
    assert found.tiles is None
    assert "Tiles: None: the whole picture is scaled to 6% of its sides" in " ".join(text.replace("#", " ").split())


def test_labels_make_a_detector_of_their_classes():
    """The classes are those of the labels, unless a person names others."""
    found, text = use_case(findings(labels=labels(classes=("chip", "no", "Über Riss"))))
    assert found.classes == ("chip", "no", "Über Riss")
    assert found.training.detector == "yolov8"
    assert "boxes.csv shows defects on 100 pictures" in text
    assert use_case(findings(labels=labels()), classes=("dent", "stain"))[0].classes == ("dent", "stain")


@pytest.mark.parametrize(
    ("changes", "more"),
    [({"in_good_folders": True}, {}), ({}, {"good_only": True}), ({"labels": labels(defective=0, good=200)}, {})],
)
def test_good_parts_alone_are_recognised(changes, more):
    """By their folders, by a person, or by labels without a box: the model then learns from good parts alone."""
    found, text = use_case(findings(**changes), **more)
    assert "All pictures show good parts" in " ".join(text.replace("#", " ").split())
    assert (found.training.detector, found.training.image_width, found.training.image_height) == ("patchcore", 320, 256)
    assert (found.split.val, found.gates.min_map50) == (0.25, 0.0)
    assert found.gates.allow_not_measurable == ("escape_rate", "image_auroc")


def test_few_good_parts_are_few_for_a_model_of_good_parts_too():
    """The file says how many are better."""
    text = " ".join(use_case(findings(files=12), good_only=True)[1].replace("#", " ").split())
    assert "20 good parts or more are better than the 12 here" in text


def test_without_a_word_nobody_knows_whether_there_are_defects():
    """The file says so, and names the option."""
    assert "--good-only" in use_case(findings())[1]


def test_few_parts_get_larger_shares_and_no_rate_by_its_upper_end():
    """With 20 parts, 6 fall to test; 22 would be needed to show an escape rate of 0.15."""
    found, text = use_case(findings(files=40, parts=20, labels=labels(defective=15, good=5)))
    assert (found.split.test, found.split.val) == (0.3, 0.2)
    assert (found.gates.bound, found.split.min_test_parts, found.split.min_images) == ("point", 3, 20)
    assert "22 without an escape are needed" in " ".join(text.replace("#", " ").split())


def test_many_parts_are_judged_by_the_upper_end():
    """Of 400 pictures 80 fall to test, half of them defective."""
    found, _ = use_case(findings(files=400, labels=labels(defective=200, good=200)))
    assert (found.split.test, found.gates.bound) == (0.2, "upper_95")


def test_near_duplicates_without_parts_are_a_warning_and_with_parts_none():
    """Photographs of one part on both sides of a split make scores too good."""
    alike = (("a.jpg", "b.jpg"),)
    assert "the scores are too good" in " ".join(use_case(findings(alike=alike))[1].replace("#", " ").split())
    assert "parts.csv names 90 parts" in use_case(findings(alike=alike, parts=90))[1]


@given(
    st.integers(1, 100_000), st.integers(16, 8000), st.integers(16, 8000),
    st.none() | st.floats(0.001, 1.0), st.lists(st.text(min_size=1, max_size=12), max_size=4),
)  # fmt: skip
def test_whatever_was_found_the_file_is_accepted(count, width, height, side, names):
    """Any number of pictures of any size, with any names of files and classes."""
    classes = tuple(sorted({name for name in names if name.strip() and name.isprintable()}))
    found = findings(
        files=count, looked=min(count, 200), usable=min(count, 200), width=width, height=height,
        labels=None if side is None else labels(side=side, classes=classes or ("a",)),
        alike=tuple((name, f"{name}\n{name}") for name in names),
    )  # fmt: skip
    made, text = use_case(found)
    assert made.name == "disc"
    assert made.training.image_width <= 1312
    assert use_case(found)[1] == text
