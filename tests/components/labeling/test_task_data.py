"""Keys, digests and configurations."""

import xml.etree.ElementTree as ET

import pytest

from components.labeling.project_config import class_colour, project_spec
from components.labeling.task_data import LabelingData, TaskDataError, VerificationData, verification_key
from components.stores.labels.store import LabelStatus, event_id
from components.use_case import parse_use_case
from inspection.geometry import Box, LabelledBox

SHA = "ab" * 32
IMAGE = f"s3://kizu-raw/plant/cam-1/2026/11/22/{SHA}.jpg"


def verification(**changes):
    fields = {
        "image": IMAGE,
        "sha256": SHA,
        "width": 450,
        "height": 300,
        "group": "part-1",
        "boxes": (LabelledBox("scratch", Box(1.1, 2.2, 30.3, 40.4)), LabelledBox("dent", Box(100.0, 100.0, 5.0, 5.0))),
        "labelled_event": "e" * 64,
        "annotation": "7",
        "annotators": ("2", "3"),
        "note": "",
    }
    return VerificationData(**{**fields, **changes})


def test_a_verification_task_comes_back_with_the_same_boxes():
    """A verification task keeps its boxes to the last bit, because approved rows take their boxes from it."""
    assert VerificationData.from_data(verification().to_data()) == verification()


@pytest.mark.parametrize("change", [{"boxes": []}, {"annotation": "8"}, {"key": "x"}, {"boxes_digest": ""}])
def test_a_verification_task_that_somebody_changed_is_refused(change):
    """Anybody in Label Studio may edit a task's data."""
    with pytest.raises(TaskDataError):
        VerificationData.from_data({**verification().to_data(), **change})


@pytest.mark.parametrize("broken", [None, 5, "text", [1], [{"class": "scratch"}]])
def test_boxes_of_another_form_are_refused(broken):
    """Boxes of another form raise TaskDataError."""
    with pytest.raises(TaskDataError):
        VerificationData.from_data({**verification().to_data(), "boxes": broken})


def test_the_verification_key_tells_images_annotations_and_boxes_apart():
    """The key differs by image, annotation and boxes, but not by the order of the boxes."""
    boxes = verification().boxes
    key = verification_key(SHA, "7", boxes)
    assert key == verification_key(SHA, "7", tuple(reversed(boxes)))
    others = {
        verification_key("cd" * 32, "7", boxes),
        verification_key(SHA, "8", boxes),
        verification_key(SHA, "7", ()),
    }
    assert len(others | {key}) == 4


def test_the_event_of_an_act_is_the_same_however_often_it_is_read():
    """The same act gives the same id; another status, time, project or annotation gives another id."""
    first = event_id("label-studio", "1", "7", "2026-11-22T00:00:00.000001+00:00", LabelStatus.LABELLED)
    assert first == event_id("label-studio", "1", "7", "2026-11-22T00:00:00.000001+00:00", LabelStatus.LABELLED)
    assert first != event_id("label-studio", "1", "7", "2026-11-22T00:00:00.000001+00:00", LabelStatus.APPROVED)
    assert first != event_id("label-studio", "1", "7", "2026-11-22T00:00:00.000002+00:00", LabelStatus.LABELLED)


def test_a_labeling_task_of_another_image_is_refused():
    """The sha256 must be that of the key."""
    data = LabelingData(image=IMAGE, sha256=SHA, width=1, height=1, group="g", reason="", device="d", day="2026-11-22")
    assert LabelingData.from_data(data.to_data()) == data
    with pytest.raises(TaskDataError):
        LabelingData.from_data({**data.to_data(), "sha256": "cd" * 32})
    with pytest.raises(TaskDataError):
        LabelingData.from_data({"image": "x.jpg"})


def use_case(count=2):
    names = ["scratch", 'a "quoted" <class> & 傷', *(f"class-{i}" for i in range(count - 2))][:count]
    lines = "\n".join(f"  - {name!r}" for name in names)
    return parse_use_case(
        f"name: tags\nclasses:\n{lines}\nlabeling:\n  instructions: 'Mark <all> & every 傷'\n"
        "  colours: {scratch: '#ff0000'}\n"
        "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
    )


@pytest.mark.parametrize("role", ["labeling", "verification"])
@pytest.mark.parametrize("count", [1, 2, 60])
def test_the_configuration_names_every_class_with_its_colour(role, count):
    """Well-formed, whatever the names hold; hot keys do not repeat and leave a and r to the decision."""
    chosen = use_case(count)
    root = ET.fromstring(project_spec(chosen, role).label_config)  # our own text
    labels = root.findall(".//Label")
    assert [label.get("value") for label in labels] == list(chosen.classes)
    assert [label.get("background") for label in labels] == [class_colour(chosen, name) for name in chosen.classes]
    keys = [label.get("hotkey") for label in labels if label.get("hotkey")]
    assert len(keys) == len(set(keys))
    assert not {"a", "r"} & set(keys)


def test_the_instructions_are_text_not_markup():
    """Instructions from the use case file are escaped, so that they are shown as text."""
    assert "Mark &lt;all&gt; &amp; every 傷" in project_spec(use_case(), "labeling").instructions


def test_the_colour_of_the_file_wins():
    """A class has the colour that the use case file gives it; other classes get theirs from a palette."""
    assert class_colour(use_case(), "scratch") == "#ff0000"
