"""What tools write that is no exact YOLO or COCO, and what it means."""

import json
from datetime import UTC, datetime

import pytest

from components.exchange.coco import read_coco
from components.exchange.rows import ClassNames, ExchangeError, SourceRow
from components.exchange.yolo import read_yolo
from components.stores.labels.box_rule import Tally, apply_rule
from components.stores.raw_images.set_aside import SetAside

CLASSES = ("scratch", "dent")
NAMES = ClassNames(CLASSES, {})
NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
BOX = "0 0.5 0.5 0.25 0.25\n"
BOM = b"\xef\xbb\xbf"


@pytest.fixture
def yolo(tmp_path):
    """Write a YOLO folder of one image and read it."""

    def read(label, **files):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "images" / "a.png").write_bytes(b"")
        (tmp_path / "labels" / "a.txt").write_bytes(label if isinstance(label, bytes) else label.encode())
        for name, text in files.items():
            (tmp_path / name.replace("__", "/").replace("_", ".")).write_bytes(
                text if isinstance(text, bytes) else text.encode()
            )
        return list(read_yolo(tmp_path, NAMES))

    return read


def classes(rows):
    (row,) = rows
    return [box.class_name for box in row.boxes]


@pytest.mark.parametrize("name", ["dataset_yaml", "custom_yml", "data_yaml"])
def test_classes_go_by_the_names_of_a_yaml_of_any_name(yolo, name):
    """A folder whose classes are in another order than the use case's keeps its own order."""
    assert classes(yolo(BOX, **{name: "names: [dent, scratch]"})) == ["dent"]


@pytest.mark.parametrize("name", ["classes_txt", "labels__classes_txt", "obj_names"])
def test_classes_go_by_a_list_beside_or_among_the_labels(yolo, name):
    """With a byte order mark, spaces, or the line ends of Windows, a name is the same name."""
    assert classes(yolo(BOX, **{name: BOM + b"dent \r\nscratch\r\n"})) == ["dent"]


def test_numbers_of_classes_may_be_in_quotes(yolo):
    """The keys '0' and '1' are the numbers 0 and 1."""
    assert classes(yolo(BOX, data_yaml="names: {'0': dent, '1': scratch}")) == ["dent"]


def test_two_files_that_name_different_classes_are_refused(yolo):
    """One of the two is wrong, and with it every class would be another."""
    with pytest.raises(ExchangeError, match=r"classes\.txt|data\.yaml"):
        yolo(BOX, data_yaml="names: [dent, scratch]", classes_txt="scratch\ndent\n")


def test_a_byte_order_mark_costs_no_box(yolo):
    """A Windows editor writes it before the first line of the labels."""
    assert classes(yolo(BOM + BOX.encode() + b"1 0.2 0.2 0.1 0.1\n", data_yaml="names: [scratch, dent]")) == list(
        CLASSES
    )


@pytest.mark.parametrize("number", ["1.0", "1.000000000000000000e+00"])
def test_a_class_may_be_written_as_a_float(yolo, number):
    """numpy.savetxt writes all columns alike."""
    assert classes(yolo(f"{number} 0.5 0.5 0.25 0.25", data_yaml="names: [scratch, dent]")) == ["dent"]


def test_a_polygon_becomes_the_box_around_it_and_is_counted(yolo):
    """A score after the box is left out; a line of another length is no box."""
    polygon = "0 0.1 0.2 0.4 0.2 0.4 0.6 0.1 0.6\n"
    (row,) = yolo(polygon + BOX.strip() + " 0.91\n" + "0 0.1 0.2 0.3\n", data_yaml="names: [scratch, dent]")
    outline, scored, short = row.boxes
    assert (outline.x, outline.y, outline.width, outline.height) == pytest.approx((0.25, 0.4, 0.3, 0.4))
    assert (outline.class_name, outline.is_outline) == ("scratch", True)
    assert (scored.width, scored.is_outline) == (0.25, False)
    assert not short.is_rectangle


def test_key_points_after_a_box_are_no_polygon(yolo):
    """`kpt_shape` says that each line is a box and then points."""
    (row,) = yolo(BOX.strip() + " 0.1 0.1 2 0.9 0.9 2\n", data_yaml="names: [scratch]\nkpt_shape: [2, 3]")
    assert (row.boxes[0].x, row.boxes[0].is_outline) == (0.5, False)


def test_labels_of_zero_bytes_are_set_aside(yolo):
    """A disk that lost power leaves such a file. It says neither a box nor that there is none."""
    (aside,) = yolo(bytes(40), data_yaml="names: [scratch, dent]")
    assert (aside.image, aside.reason) == ("images/a.png", "labels")


def test_two_images_never_share_a_label_file(yolo, tmp_path):
    """`a.png` and `a.jpg` are both set aside, and so is a label file whose image is missing."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    (tmp_path / "labels" / "gone.txt").write_text(BOX)
    found = yolo(BOX, data_yaml="names: [scratch, dent]")
    assert [(item.image, item.reason) for item in found] == [
        ("images/a.jpg", "ambiguous-labels"),
        ("images/a.png", "ambiguous-labels"),
        ("labels/gone.txt", "no-image"),
    ]


def coco(*annotations, images=({"id": 1, "file_name": "a.png"},)):
    annotations = [{"image_id": 1, "category_id": 1, **more} for more in annotations]
    categories = [{"id": 1, "name": "scratch"}, {"id": 2, "name": "dent"}]
    data = json.dumps({"images": list(images), "annotations": annotations, "categories": categories}).encode()
    return list(read_coco(BOM + data, NAMES, NOON))


def boxes(row):
    converted = apply_rule(row.boxes, CLASSES, 64, 48)
    return [b.box.xyxy for b in converted.boxes], converted.tally


def test_a_coco_polygon_or_mask_without_a_box_becomes_the_box_around_it():
    """So does a group of objects (`iscrowd`), whose box is there. Each is counted."""
    mask = {"size": [48, 64], "counts": [48 * 2 + 3, 4, 48 - 4, 4, 48 * 60 - 7]}  # columns 2 and 3, rows 3 to 6
    (row,) = coco(
        {"segmentation": [[10, 10, 30, 10, 30, 30]]},
        {"segmentation": mask, "iscrowd": 1},
        {"bbox": [1, 2, 3, 4], "iscrowd": 1, "segmentation": {"counts": "abc", "size": [48, 64]}},
        {"segmentation": {"counts": "abc", "size": [48, 64]}},
        {"segmentation": [[1, 2, 3]]},
    )
    found, tally = boxes(row)
    assert found == [(10, 10, 30, 30), (2, 3, 4, 7), (1, 2, 4, 6)]
    assert tally == Tally(outlined=3, not_a_rectangle=2)


def test_a_turned_box_of_cvat_turns_about_its_middle():
    """A box of 20 x 4 turned by 90 degrees stands upright at the same middle."""
    (row,) = coco({"bbox": [20, 20, 20, 4], "attributes": {"rotation": 90.0}})
    ((corners), *_), tally = boxes(row)
    assert corners == pytest.approx((28, 12, 32, 32))
    assert tally == Tally(rotated=1)


def test_a_coco_image_without_a_size_has_that_of_its_file():
    """Some tools leave it out, others write null."""
    (row,) = coco(images=[{"id": 1, "file_name": "a.png", "width": None}])
    assert (row.width, row.height) == (None, None)


def test_a_coco_image_that_is_listed_twice_has_the_boxes_of_both():
    """Each entry brings all boxes, so that neither is taken for the whole."""
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}]
    rows = coco({"bbox": [1, 1, 5, 5]}, {"image_id": 2, "category_id": 2, "bbox": [9, 9, 5, 5]}, images=images)
    assert [classes([row]) for row in rows] == [["scratch", "dent"], ["scratch", "dent"]]
    assert all(isinstance(row, SourceRow) for row in rows)
    assert not any(isinstance(row, SetAside) for row in rows)


def test_a_box_that_is_there_twice_is_kept_once_and_counted():
    """The same class at the same place; another class there is another box."""
    (row,) = coco({"bbox": [1, 1, 5, 5]}, {"bbox": [1, 1, 5, 5]}, {"bbox": [1, 1, 5, 5], "category_id": 2})
    found, tally = boxes(row)
    assert len(found) == 2
    assert tally == Tally(repeated=1)
