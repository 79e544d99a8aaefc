"""Which images become tasks, by what a browser can show."""

import dataclasses
from datetime import UTC, date, datetime

import cv2
import numpy as np
import pytest

from components.labeling.priority import LabelingCandidate, Placed
from components.labeling.task_data import LabelingData, TaskDataError, VerificationData
from components.labeling.unlabelled import BatchImage, UnusableImage, open_placed
from components.stores.raw_images.images import RawImage, RawImages
from components.stores.raw_images.renditions import rendition_key
from inspection.documents import Capture, Reason
from inspection.image import EXTENSIONS, decode_image, image_format, sha256_of
from inspection.paths import parse_raw_key


class Raw:
    """The bytes of one image."""

    def __init__(self, data, keys=()):
        self.data = data
        self.keys = keys

    def has(self, key):
        return key in self.keys

    def fetch(self, uri, sha256):
        return self.data


@pytest.mark.parametrize(
    ("kind", "shown"), [("png", True), ("jpg", True), ("webp", True), ("bmp", True), ("tiff", False)]
)
def test_a_picture_that_no_browser_shows_becomes_no_task(kind, shown):
    """A person would see nothing, draw nothing, and the part would count as good."""
    data = cv2.imencode(f".{kind}", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    sha256 = sha256_of(data)
    day = datetime(2026, 1, 1, tzinfo=UTC)
    key = f"f/d/2026/01/01/{sha256}.{EXTENSIONS[image_format(data)]}"
    image = RawImage(sha256, f"s3://kizu-raw/{key}", "d", date(day.year, day.month, day.day))
    opened = open_placed(Raw(data), Placed(LabelingCandidate(image, (), sha256, False), "new"))
    if shown:
        assert isinstance(opened, BatchImage)
        assert (opened.width, opened.height) == (64, 48)
    else:
        assert isinstance(opened, UnusableImage)
        assert opened.reason == "not-shown"
        rendered = Raw(data, [f"renditions/{sha256}.png"])
        assert isinstance(open_placed(rendered, Placed(LabelingCandidate(image, (), sha256, False), "new")), BatchImage)


def test_people_are_shown_the_rendition_and_the_label_is_of_the_image():
    """A task shows the PNG of a TIFF. Read back, the task is of the TIFF."""
    sha256 = "ab" * 32
    image = f"s3://kizu-raw/f/d/2026/01/01/{sha256}.tif"
    common = {"image": image, "sha256": sha256, "width": 64, "height": 48, "group": "p"}
    labeling = LabelingData(**common, reason="import", device="d", day="2026-01-01")
    verification = VerificationData(**common, boxes=(), labelled_event="e", annotation="1", annotators=("7",))
    for data in (labeling, verification):
        written = data.to_data()
        assert written["image"] == f"s3://kizu-raw/renditions/{sha256}.png"
        assert type(data).from_data(written) == data
    png = dataclasses.replace(labeling, image=image.replace(".tif", ".png"))
    assert png.to_data()["image"] == png.image
    assert "original" not in png.to_data()


def test_an_original_of_another_image_is_refused():
    """Somebody changed the task."""
    sha256 = "ab" * 32
    image = f"s3://kizu-raw/f/d/2026/01/01/{sha256}.tif"
    data = LabelingData(
        image=image, sha256=sha256, width=64, height=48, group="p", reason="", device="d", day="2026-01-01"
    ).to_data()
    for original in (image.replace("ab", "cd"), 7, "x"):
        with pytest.raises(TaskDataError):
            LabelingData.from_data({**data, "original": original})


def test_an_imported_tiff_gets_a_rendition_of_the_same_pixels():
    """It is stored beside the image, which stays as it is, and no scan takes it for an image."""

    class Store:
        def __init__(self):
            self.objects = {}

        def put(self, bucket, key, data, **_):
            self.objects[key] = data
            return True

    store = Store()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    data = cv2.imencode(".tiff", pixels)[1].tobytes()
    sha256 = sha256_of(data)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    capture = Capture(
        capture_id="c", sha256=sha256, device="import-x", camera="import", captured_at=at, reason=Reason.IMPORT
    )
    stored = RawImages(store, "kizu-raw").put(data, capture, site="f")
    assert store.objects[stored.uri.removeprefix("s3://kizu-raw/")] == data
    rendered = store.objects[rendition_key(sha256)]
    assert image_format(rendered) == "png"
    assert np.array_equal(decode_image(rendered), pixels)
    assert parse_raw_key(rendition_key(sha256)) is None
