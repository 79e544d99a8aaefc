"""COCO and YOLO files as others make them."""

import json
from datetime import UTC, datetime

import pytest

from components.exchange.coco import read_coco
from components.exchange.rows import ClassNames, ExchangeError, SourceStatus, Unit
from components.exchange.yolo import label_path, read_yolo
from components.stores.labels.box_rule import Drawn
from components.stores.raw_images.set_aside import SetAside

NAMES = ClassNames(("scratch", "dent"), {})
NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)


def coco(images, annotations, categories=({"id": 7, "name": "dent"},)):
    return json.dumps({"images": images, "annotations": annotations, "categories": list(categories)}).encode()


def image(number, **more):
    return {"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48, **more}


def test_a_coco_file_of_others_says_nothing_of_a_verification():
    """Rows of a foreign COCO file have no verification; an image without an annotation is a row, too.

    Classes are matched by their names, and images by their ids.
    """
    annotations = [
        {"id": 1, "image_id": 2, "category_id": 7, "bbox": [1, 2, 3.5, 4]},
        {"id": 2, "image_id": 2, "category_id": 8, "bbox": [1, 2, 3, 4]},
        {"id": 3, "image_id": 2, "category_id": 7, "keypoints": [1, 2, 3]},
    ]
    one, two = read_coco(coco([image(1), image(2)], annotations), NAMES, NOON)
    assert one.boxes == ()
    assert two.boxes[:2] == (Drawn("dent", 1, 2, 3.5, 4), Drawn(None, 1, 2, 3, 4))
    assert [box.is_rectangle for box in two.boxes] == [True, True, False]
    assert (two.status, two.at, two.at_said, two.unit) == (SourceStatus.UNSAID, NOON, False, Unit.PIXELS)


def test_a_coco_image_that_does_not_parse_is_set_aside():
    """No name, a size that is none, an id twice; and annotations of an image that is not there."""
    images = [{"id": 1}, image(2, width=0), image(3), image(3), "text", image(4)]
    annotations = [{"id": 1, "image_id": 99, "category_id": 7, "bbox": [1, 2, 3, 4]}]
    found = list(read_coco(coco(images, annotations), NAMES, NOON))
    aside = [(item.line, item.reason) for item in found if isinstance(item, SetAside)]
    assert aside == [
        (1, "no-image"), (2, "size"), (3, "contradiction"), (4, "contradiction"), (5, "no-image"), (None, "no-image")
    ]  # fmt: skip
    assert len(found) == len(aside) + 1


@pytest.mark.parametrize("data", [b"", b"[]", b'{"images": []}', b"\x00", b"[" * 100_000])
def test_what_is_no_coco_file_is_refused(data):
    """Data that is no COCO file is refused with an error that says what was expected."""
    with pytest.raises(ExchangeError, match="expected a COCO file"):
        list(read_coco(data, NAMES, NOON))


def write(folder, **files):
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_yolo_folder_with_the_labels_beside_the_images(tmp_path):
    """Flat, with classes.txt; what is no line of five is no box; an image without labels is set aside."""
    write(tmp_path, a_jpg="", a_txt="1 0.5 0.5 0.1 0.2\n0 x 0.5 0.1 0.2\n0 0.1 0.1 0.2 0.2 0.3 0.3 0.4\n", b_jpg="")
    write(tmp_path, classes_txt="scratch\ndent\n")
    row, aside = read_yolo(tmp_path, NAMES)
    assert row.boxes[0] == Drawn("dent", 0.5, 0.5, 0.1, 0.2)
    assert row.boxes[1].x is None
    assert not row.boxes[2].is_rectangle
    assert (row.unit, row.status) == (Unit.SHARES, SourceStatus.UNSAID)
    assert (aside.image, aside.reason) == ("b.jpg", "no-labels")


@pytest.mark.parametrize(
    ("names", "expected"),
    [("names: [dent, scratch]", "dent"), ("names: {0: dent}", "dent"), ("names: {0: rust}", None)],
)
def test_yolo_classes_go_by_the_names_of_data_yaml(tmp_path, names, expected):
    """A list or numbers with names; a name that is not ours is unknown, whatever its number."""
    write(tmp_path, images__train__a_jpg="", labels__train__a_txt="0 0.5 0.5 0.1 0.2\n", data_yaml=names)
    (row,) = read_yolo(tmp_path, NAMES)
    assert row.boxes[0].class_name == expected


def test_yolo_numbers_without_names_mean_the_one_class_or_what_class_says(tmp_path):
    """With several classes and no names the folder is refused. `--class` or a single class make the numbers clear."""
    write(tmp_path, a_jpg="", a_txt="1 0.5 0.5 0.1 0.2\n0 0.5 0.5 0.1 0.2\n-1 0.5 0.5 0.1 0.2\n")
    with pytest.raises(ExchangeError, match="--class 0=scratch --class 1=dent"):
        list(read_yolo(tmp_path, NAMES))
    (row,) = read_yolo(tmp_path, ClassNames(("scratch", "dent"), {"1": "scratch"}))
    assert [box.class_name for box in row.boxes] == ["scratch", None, None]
    (row,) = read_yolo(tmp_path, ClassNames(("scratch",), {}))
    assert [box.class_name for box in row.boxes] == [None, "scratch", None]


@pytest.mark.parametrize("text", ["", "names: 5", "names: {a: b}", "{", "- 1"])
def test_a_data_yaml_that_names_no_classes_is_refused(tmp_path, text):
    """The error names the file by its path."""
    write(tmp_path, a_jpg="", data_yaml=text)
    with pytest.raises(ExchangeError, match=str(tmp_path)):
        list(read_yolo(tmp_path, NAMES))


def test_labels_are_looked_for_where_ultralytics_looks():
    """The path of a label is the image's with its last folder `images` replaced by `labels`, as in Ultralytics."""
    assert label_path("images/train/a.b.jpg") == "labels/train/a.b.txt"
    assert label_path("images/x/images/a.jpg") == "images/x/labels/a.txt"
    assert label_path("x/a.jpg") == "x/a.txt"
    assert label_path("images.jpg") == "images.txt"


def test_a_class_that_the_use_case_does_not_have_cannot_be_renamed_to():
    """A slip in --class is said before anything is read."""
    with pytest.raises(ExchangeError, match="rust"):
        ClassNames(("scratch",), {"0": "rust"})
