"""Which images become tasks, by what a browser can show."""

from datetime import UTC, date, datetime

import cv2
import numpy as np
import pytest

from components.labeling.priority import LabelingCandidate, Placed
from components.labeling.unlabelled import BatchImage, UnusableImage, open_placed
from components.stores.raw_images.images import RawImage
from inspection.image import EXTENSIONS, image_format, sha256_of


class Raw:
    """The bytes of one image."""

    def __init__(self, data):
        self.data = data

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
