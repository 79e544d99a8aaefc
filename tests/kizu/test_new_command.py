"""`kizu new`: a look at a folder of photographs, and the use case file of a new product."""

import json

import pytest

from components.stores.raw_images.image_source import ImageSourceError
from components.use_case import load_use_case
from kizu.commands.new import new
from kizu.context import CommandError
from kizu.labels_beside import labels_beside
from tests.components.first_look.photographs import folder_of, photograph


def made(folder, file, name="disc", **more):
    """The file that the command writes, as text."""
    options = {"class_": None, "good_only": False, "sample": 200, "replace": False} | more
    new(name, folder, file, **options)
    assert load_use_case(file).name == name
    return file.read_text(encoding="utf-8")


def test_a_folder_of_photographs_becomes_a_use_case_file(tmp_path):
    """The file loads, and the same photographs give the same file."""
    folder = folder_of(tmp_path / "photographs", 12)
    text = made(folder, tmp_path / "one" / "disc.yaml")
    assert "12 files; looked at all of them: 12 can be read." in text
    assert "Size 96 x 64 pixels, all alike; 12 jpeg; 8 bits a channel, in colour." in text
    assert made(folder, tmp_path / "two.yaml") == text
    assert str(tmp_path) not in text, "a path of this machine is of no use elsewhere"


def test_a_file_that_is_there_is_kept_unless_a_person_says_so(tmp_path):
    """A person may have written it."""
    folder, file = folder_of(tmp_path / "photographs", 3), tmp_path / "disc.yaml"
    file.write_text("mine")
    with pytest.raises(CommandError, match="is there already"):
        made(folder, file)
    assert file.read_text() == "mine"
    assert "name: disc" in made(folder, file, replace=True)


@pytest.mark.parametrize("name", ["Disc", "a b", "../disc", "", "-disc", "x" * 64])
def test_a_name_that_is_none_is_refused_before_anything_is_read(tmp_path, name):
    """The name becomes part of keys; the message says what one looks like."""
    with pytest.raises(ValueError, match=r"1-63 characters a-z, 0-9 or '-'"):
        made(tmp_path / "nowhere", tmp_path / "x.yaml", name=name)


def test_a_folder_without_a_picture_is_refused_with_what_is_there(tmp_path):
    """No folder, an empty one, and one in which nothing can be read: the message names a file and its fault."""
    with pytest.raises(ImageSourceError, match="is not a folder"):
        made(tmp_path / "nowhere", tmp_path / "x.yaml")
    folder = tmp_path / "photographs"
    folder.mkdir()
    with pytest.raises(CommandError, match="there is no file that may be one"):
        made(folder, tmp_path / "x.yaml")
    (folder / "a.jpg").write_bytes(photograph(1)[:500])
    with pytest.raises(CommandError, match=r"none of the 1 files .* can be read; a\.jpg: the jpeg ends before"):
        made(folder, tmp_path / "x.yaml")
    assert not (tmp_path / "x.yaml").exists()


def test_some_that_cannot_be_read_are_named_in_the_file(tmp_path):
    """The others are enough."""
    folder = folder_of(tmp_path / "photographs", 5)
    (folder / "cut.jpg").write_bytes(photograph(1)[:500])
    assert "1 set aside as truncated, such as cut.jpg" in made(folder, tmp_path / "x.yaml")


def test_a_table_of_boxes_above_the_images_gives_classes_and_input_size(tmp_path):
    """As in the circuit boards: `images/`, and `boxes.csv` beside it."""
    folder = folder_of(tmp_path / "images", 8, width=640, height=640)
    rows = "".join(f"{number:03}.jpg,spur,10,10,42,30\n" for number in range(6))
    (tmp_path / "boxes.csv").write_text(f"image,class,x1,y1,x2,y2\n{rows}006.jpg,,,,,\n")
    text = made(folder, tmp_path / "x.yaml")
    found = load_use_case(tmp_path / "x.yaml")
    assert found.classes == ("spur",)
    assert (found.training.image_width, found.training.image_height) == (416, 416)
    assert "boxes.csv has 6 boxes on 6 pictures, and says of 1 pictures that they show no defect" in text.replace(
        "\n#   ", " "
    )


def test_good_parts_alone_become_a_use_case_that_learns_from_them(tmp_path):
    """By the names of their folders; a folder called `images` has the name of the one above it."""
    folder_of(tmp_path / "tag" / "images" / "good", 6)
    text = made(tmp_path / "tag" / "images", tmp_path / "x.yaml")
    assert load_use_case(tmp_path / "x.yaml").training.detector == "patchcore"
    assert "proposed by `kizu new` from the photographs in tag." in text


def coco(folder):
    document = {
        "images": [{"id": 1, "file_name": "000.jpg", "width": 96, "height": 64}, {"id": 2, "file_name": "001.jpg"}],
        "categories": [{"id": 7, "name": "dent"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 24, 12]}],
    }
    (folder / "a.json").write_text("[]")
    (folder / "annotations.json").write_text(json.dumps(document))


def yolo(folder):
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number in (0, 1):
        (folder / f"{number:03}.jpg").rename(folder / "images" / f"{number:03}.jpg")
    (folder / "labels" / "000.txt").write_text("0 0.5 0.5 0.25 0.1875\n")
    (folder / "labels" / "001.txt").write_text("")
    (folder / "classes.txt").write_text("dent\n")


def voc(folder):
    (folder / "annotations").mkdir()
    corners = "<xmin>1</xmin><ymin>2</ymin><xmax>25</xmax><ymax>14</ymax>"
    box = f"<object><name>dent</name><bndbox>{corners}</bndbox></object>"
    for number, objects in enumerate((box, "")):
        text = f"<annotation><filename>{number:03}.jpg</filename>{objects}</annotation>"
        (folder / "annotations" / f"{number}.xml").write_text(text)


def feature_store(folder):
    head = "source_ref,image_width,image_height,annotations,event_time,status\n"
    box = "\"[{'class_id': 0, 'top': 2, 'left': 1, 'height': 12, 'width': 24}]\""
    rows = f"s3://x/000.jpg,96,64,{box},1611834634,APPROVED\ns3://x/001.jpg,96,64,[],1611834634,APPROVED\n"
    (folder / "labels.csv").write_text(head + rows)


@pytest.mark.parametrize(
    ("write", "kind", "classes"),
    [(coco, "coco", ("dent",)), (yolo, "yolo", ("dent",)), (voc, "voc", ("dent",)),
     (feature_store, "ground-truth", ("class-0",))],
)  # fmt: skip
def test_labels_are_found_in_each_form(tmp_path, write, kind, classes):
    """One picture with a box of a quarter of its width, and one without a box."""
    folder = folder_of(tmp_path / "p", 2)
    write(folder)
    found = labels_beside(folder, 96, 64)
    assert (found.kind, found.classes, found.defective, found.good) == (kind, classes, 1, 1)
    assert found.sides == pytest.approx((0.25,))


def test_other_files_are_no_labels(tmp_path):
    """A table of something else, a JSON of something else, and a folder of texts."""
    folder = folder_of(tmp_path / "p", 1)
    (folder / "labels.csv").write_text("image,weight\n000.jpg,3\n")
    (folder / "settings.json").write_text('{"images": 3}')
    (folder / "notes.txt").write_text("hello")
    assert labels_beside(folder, 96, 64) is None
