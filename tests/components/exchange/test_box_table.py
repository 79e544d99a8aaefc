"""A CSV table with a line for each box, as the public circuit boards have it."""

import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.exchange.box_table import read_box_table
from components.exchange.rows import ClassNames, ExchangeError, SourceRow, SourceStatus
from components.stores.labels.box_rule import apply_rule
from components.stores.raw_images.set_aside import SetAside
from components.use_case import load_use_case
from deploy.access.layout import REPOSITORY

CLASSES = ("open", "short")
NOON = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)


def read(text, classes=CLASSES):
    return list(read_box_table(io.StringIO(text, newline=""), ClassNames(classes, {}), NOON))


def test_lines_of_one_image_become_one_row():
    """In the order of the images, wherever their lines stand; columns may have another order and be more."""
    first, second = read(
        "x1,y1,x2,y2,image,class,who\n1,2,11,22,a.jpg,open,me\n0,0,5,5,b.jpg,short,me\n3,4,6,9,a.jpg,short,\n"
    )
    assert (first.image, first.line, first.status) == ("a.jpg", 2, SourceStatus.UNSAID)
    assert (first.at, first.at_said) == (NOON, False)
    boxes = apply_rule(first.boxes, CLASSES, 100, 100).boxes
    assert [(box.class_name, *box.box.xyxy) for box in boxes] == [("open", 1, 2, 11, 22), ("short", 3, 4, 6, 9)]
    assert (second.image, len(second.boxes)) == ("b.jpg", 1)


def test_a_line_with_an_image_alone_says_that_there_is_no_defect():
    """A row without a box."""
    (row,) = read("image,class,x1,y1,x2,y2\ngood.jpg,,,,,\n\n")
    assert isinstance(row, SourceRow)
    assert row.boxes == ()


@pytest.mark.parametrize("rest", ["open,1,2,x,9", "open,1,2,,9", "open,1,2,nan,9", "open", "dent,1,2,3,9"])
def test_a_line_that_cannot_be_read_is_a_box_that_is_left_out(rest):
    """So the import sees that the image lost a box, and never takes it as approved."""
    (row,) = read(f"image,class,x1,y1,x2,y2\na.jpg,open,1,2,11,22\na.jpg,{rest}\n")
    converted = apply_rule(row.boxes, CLASSES, 100, 100)
    assert (len(converted.boxes), converted.tally.left_out) == (1, 1)


def test_a_line_that_names_no_image_is_set_aside_with_its_number():
    """The other lines are read."""
    aside, row = read("image,class,x1,y1,x2,y2\n,open,1,2,3,4\na.jpg,open,1,2,3,4\n")
    assert isinstance(aside, SetAside)
    assert (aside.line, aside.reason, row.image) == (2, "no-image", "a.jpg")


@pytest.mark.parametrize("text", ["", "image,class\n", "a.jpg,open,1,2,3,4\n"])
def test_a_table_without_its_columns_is_refused(text):
    """The message names the columns."""
    with pytest.raises(ExchangeError, match="expected the columns image, class, x1, y1, x2, y2"):
        read(text)


def test_the_public_boards_are_all_read():
    """253 tested boards with 1662 boxes, none of which is left out."""
    folder = os.environ.get("KIZU_PUBLIC_PCB")
    if not folder:
        pytest.skip("KIZU_PUBLIC_PCB does not name a folder with the public circuit boards")
    classes = load_use_case(REPOSITORY / "use_cases" / "pcb.yaml").classes
    rows = read((Path(folder) / "boxes.csv").read_text(encoding="utf-8"), classes)
    assert (len(rows), sum(len(apply_rule(row.boxes, classes, 640, 640).boxes) for row in rows)) == (253, 1662)
