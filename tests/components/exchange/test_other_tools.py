"""Pascal VOC, CVAT, Datumaro and Label Studio, as these tools write them."""

import json
from datetime import UTC, datetime

import pytest

from components.exchange.cvat import read_cvat
from components.exchange.datumaro import read_datumaro
from components.exchange.label_studio import read_label_studio
from components.exchange.rows import ClassNames, ExchangeError, SourceRow, SourceStatus
from components.exchange.voc import read_voc
from components.exchange.xml import XmlError, parse_xml
from components.stores.labels.box_rule import Tally, apply_rule

CLASSES = ("scratch", "dent")
NAMES = ClassNames(CLASSES, {"scratches": "scratch"})
NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
SECRET = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>"""
LAUGHS = """<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>"""


def found(row, width=200, height=100):
    converted = apply_rule(row.boxes, CLASSES, width, height)
    return [(b.class_name, *b.box.xyxy) for b in converted.boxes], converted.tally


@pytest.mark.parametrize("declaration", [SECRET, LAUGHS])
def test_xml_that_declares_entities_is_refused(declaration):
    """They could read a file, or grow to gigabytes. The message names the line."""
    with pytest.raises(XmlError, match=r"'x' \(line 1\)"):
        parse_xml(f"{declaration}<a>&x;</a>".encode())


@pytest.mark.parametrize("data", [b"", b"<a>", b"\x00\x01", b"<a>" * 5000, b"<?xml version='1.0' encoding='x'?><a/>"])
def test_what_is_no_xml_is_refused(data):
    """Malformed, deeply nested, or in an encoding that nobody knows."""
    with pytest.raises(XmlError):
        parse_xml(data)


OBJECT = (
    "<object><name>{name}</name><pose>Unspecified</pose><truncated>1</truncated><difficult>0</difficult>"
    "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


def voc(*objects, filename="scratches_1.jpg", size="<width>200</width><height>100</height><depth>1</depth>"):
    return (
        f"<annotation><folder>cr</folder><filename>{filename}</filename><source><database>NEU-DET</database></source>"
        f"<size>{size}</size><segmented>0</segmented>{''.join(objects)}</annotation>"
    )


def test_a_folder_of_pascal_voc_is_read_row_by_row(tmp_path):
    """In the form of NEU-DET. A file without an object is a row without a box."""
    (tmp_path / "a.xml").write_text(voc(OBJECT.format(10, 20, 30, 40, name="scratches")))
    (tmp_path / "b.xml").write_text(voc(filename="scratches_2.jpg"))
    one, two = read_voc(tmp_path, NAMES)
    assert (one.image, one.width, one.height, one.status) == ("scratches_1.jpg", 200, 100, SourceStatus.UNSAID)
    assert found(one) == ([("scratch", 10, 20, 30, 40)], Tally())
    assert two.boxes == ()


def test_a_value_of_pascal_voc_that_is_none_spoils_its_own_box(tmp_path):
    """The box is counted as left out. A file that does not parse is set aside by its name."""
    (tmp_path / "a.xml").write_text(voc(*(OBJECT.format(v, 20, 30, 40, name="dent") for v in ("oops", "nan", "", 1))))
    (tmp_path / "b.xml").write_text("<annotation>")
    (tmp_path / "c.xml").write_text(SECRET + voc())
    (tmp_path / "d.xml").write_text(voc(filename=""))
    (tmp_path / "e.xml").write_text(voc(size="<width>x</width><height>3</height>"))
    (tmp_path / "f.xml").write_text("<kml/>")
    row, *aside = read_voc(tmp_path, NAMES)
    assert found(row) == ([("dent", 1, 20, 30, 40)], Tally(not_a_number=3))
    assert [(item.image, item.reason) for item in aside] == [
        ("b.xml", "labels"), ("c.xml", "labels"), ("d.xml", "no-image"), ("e.xml", "size"), ("f.xml", "labels"),
    ]  # fmt: skip


def test_a_folder_without_xml_is_refused(tmp_path):
    """It is the wrong folder."""
    with pytest.raises(ExchangeError, match="there is none"):
        list(read_voc(tmp_path, NAMES))


CVAT = """<annotations><version>1.1</version><meta><task><name>t</name></task></meta>
<image id="0" name="day1/a.png" width="200" height="100">
 <box label="scratch" xtl="10" ytl="20" xbr="30" ybr="40" z_order="0"><attribute name="k">v</attribute></box>
 <box label="dent" xtl="20" ytl="20" xbr="40" ybr="24" rotation="90.0"/>
 <polygon label="dent" points="1.0,2.0;11.0,2.0;11.0,8.0"/>
 <mask label="scratch" rle="1, 2" left="50" top="60" width="7" height="8"/>
 <polyline label="dent" points="1.0,2.0;11.0,2.0"/>
 <tag label="dent"/>
 <box label="dent" xtl="x" ytl="20" xbr="30" ybr="40"/>
</image>
<image id="1" name="b.png" width="200" height="100"/>
<image id="2" name="c.png" width="0" height="100"/>
<image id="3" width="200" height="100"/>
</annotations>"""


def test_cvats_xml_is_read_image_by_image():
    """A turned box turns about its middle; polygons and masks become boxes; a line is none; a tag has no place."""
    one, two, wide, nameless = read_cvat(CVAT.encode(), NAMES, NOON)
    boxes, tally = found(one)
    assert boxes[0] == ("scratch", 10, 20, 30, 40)
    assert boxes[1][1:] == pytest.approx((28, 12, 32, 32))
    assert boxes[2:] == [("dent", 1, 2, 11, 8), ("scratch", 50, 60, 57, 68)]
    assert tally == Tally(rotated=1, outlined=2, not_a_rectangle=1, not_a_number=1)
    assert (one.image, one.width, one.at_said, two.boxes) == ("day1/a.png", 200, False, ())
    assert [(item.line, item.reason) for item in (wide, nameless)] == [(3, "size"), (4, "no-image")]


@pytest.mark.parametrize("text", ["", "<a/>", SECRET + "<annotations/>", "<annotations><track/></annotations>"])
def test_what_is_no_cvat_for_images_is_refused(text):
    """A video's tracks, too: which of its frames are images is not in the file."""
    with pytest.raises(ExchangeError):
        list(read_cvat(text.encode(), NAMES, NOON))


def test_datumaros_json_is_read_item_by_item():
    """Labels by their place; a mask and a polygon become boxes; a label of the whole image is no box."""
    annotations = [
        {"id": 1, "type": "bbox", "label_id": 1, "bbox": [10, 20, 20, 20], "attributes": {"occluded": False}},
        {"id": 2, "type": "bbox", "label_id": 0, "bbox": [20, 20, 20, 4], "attributes": {"rotation": 90}},
        {"id": 3, "type": "polygon", "label_id": 0, "points": [1, 2, 11, 2, 11, 8]},
        {"id": 4, "type": "label", "label_id": 0},
        {"id": 5, "type": "bbox", "label_id": 9, "bbox": [1, 2, 3, 4]},
        {"id": 6, "type": "points", "label_id": 0, "points": [1, 2]},
        7,
    ]
    items = [
        {"id": "day1/a", "annotations": annotations, "image": {"path": "day1/a.png", "size": [100, 200]}},
        {"id": "b", "annotations": [], "media": {}},
        {"annotations": []},
        {"id": "c"},
        {"id": "d", "annotations": [], "image": {"path": "d.png", "size": ["x", 200]}},
    ]
    labels = [{"name": "scratches", "parent": ""}, {"name": "dent", "parent": ""}]
    data = json.dumps({"info": {}, "categories": {"label": {"labels": labels}}, "items": items}).encode()
    one, two, *aside = read_datumaro(data, NAMES, NOON)
    boxes, tally = found(one)
    assert boxes[0] == ("dent", 10, 20, 30, 40)
    assert boxes[1][1:] == pytest.approx((28, 12, 32, 32))
    assert boxes[2] == ("scratch", 1, 2, 11, 8)
    assert tally == Tally(rotated=1, outlined=1, unknown_class=1, not_a_rectangle=2)
    assert (one.image, one.width, one.height) == ("day1/a.png", 200, 100)
    assert (two.image, two.width) == ("b", None)
    assert [(item.line, item.reason) for item in aside] == [(3, "no-image"), (4, "no-boxes"), (5, "size")]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"items": 1, "categories": {}}', b'{"items": [], "categories": 1}']
)
def test_what_is_no_datumaro_is_refused(data):
    """The error says what was expected."""
    with pytest.raises(ExchangeError, match="Datumaro"):
        list(read_datumaro(data, NAMES, NOON))


def region(kind="rectanglelabels", labels=("dent",), **value):
    box = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    place = value or box
    return {
        "type": kind, "original_width": 200, "original_height": 100, "image_rotation": 0,
        "value": {**place, kind: list(labels)},
    }  # fmt: skip


def task(*annotations, image="/data/upload/3/1a2b3c4d-a.png", **data):
    return {"id": 1, "data": {"image": image, **data}, "annotations": list(annotations)}


def annotation(*result, at="2025-04-01T12:00:00Z", cancelled=False):
    return {"id": 9, "result": list(result), "was_cancelled": cancelled, "updated_at": at, "completed_by": 4}


def studio(*tasks):
    return list(read_label_studio(json.dumps(tasks).encode(), NAMES))


def test_the_latest_annotation_of_a_task_of_label_studio_counts():
    """Percent become pixels of the picture that was shown. The digits before an uploaded file's name go."""
    polygon = region("polygonlabels", points=[[10, 20], [50, 20], [50, 60]])
    mask = region("brushlabels", format="rle", rle=[1, 2])
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    turned = {**region(), "image_rotation": 90}
    newest = annotation(region(), polygon, mask, choice, turned)
    skipped = annotation(at="2025-04-03T12:00:00Z", cancelled=True)
    (row,) = studio(task(annotation(at="2025-03-01T12:00:00Z"), newest, skipped))
    boxes, tally = found(row)
    assert boxes == [("dent", 20, 20, 80, 60), ("dent", 20, 20, 100, 60)]
    assert tally == Tally(outlined=1, not_a_rectangle=1, other_picture=1)
    assert (row.image, row.width, row.height, row.at) == ("a.png", 200, 100, NOON)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("s3://bucket/day1/a.png", "s3://bucket/day1/a.png"),
        ("/data/local-files/?d=set/day1/a.png", "set/day1/a.png"),
        ("https://host/a.png?token=1", "https://host/a.png"),
    ],
)
def test_the_image_of_a_task_of_label_studio_is_found_in_its_data(image, name):
    """Under whichever key it is."""
    (row,) = studio({"id": 1, "data": {"note": "x", "photo": image}, "annotations": [annotation()]})
    assert (row.image, row.boxes, row.width) == (name, (), None)


def test_two_uploads_of_one_name_keep_their_digits():
    """Without them, one image would get the labels of the other."""
    rows = studio(task(annotation()), task(annotation(), image="/data/upload/3/99999999-a.png"))
    assert [row.image for row in rows] == ["/data/upload/3/1a2b3c4d-a.png", "/data/upload/3/99999999-a.png"]


def test_a_task_of_label_studio_that_says_nothing_is_set_aside():
    """Nobody submitted it, its image or time is missing, its regions are of different pictures, or it is JSON-MIN."""
    other = {**region(), "original_width": 100}
    unknown = {**region(), "original_width": None}
    found = studio(
        task(), task(annotation(cancelled=True)), {"id": 2}, task(annotation(at="20250401")),
        task(annotation(region(), other)), task(annotation(unknown)), {"data": {"image": "a.png"}, "label": []},
        task(annotation(region())),
    )  # fmt: skip
    reasons = [item.reason for item in found if not isinstance(item, SourceRow)]
    assert reasons == ["no-labels", "no-labels", "no-image", "time", "size", "size", "no-boxes"]
    assert isinstance(found[-1], SourceRow)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000])
def test_what_is_no_export_of_label_studio_is_refused(data):
    """The error says what was expected."""
    with pytest.raises(ExchangeError, match="Label Studio"):
        list(read_label_studio(data, NAMES))
