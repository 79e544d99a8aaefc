"""What a stolen device may write: Captures without form or measure, objects without end."""

import dataclasses
import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from components.stores.objects.s3 import ObjectNotFound, ObjectTooLarge
from components.stores.raw_images import images as raw_images
from components.stores.raw_images.images import RawImages
from inspection.documents import Capture, Reason
from inspection.geometry import Box, Detection
from inspection.image import sha256_of
from inspection.paths import capture_key

NOON = datetime(2025, 4, 3, 12, 0, tzinfo=UTC)


@pytest.fixture
def sent(store, installation):
    """An image with an honest Capture; and how to write more of them beside it."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng().integers(0, 256, (24, 32, 3), np.uint8)).save(stream, "JPEG")
    data = stream.getvalue()
    honest = Capture(
        capture_id="c-1", sha256=sha256_of(data), device="line-1", camera="top", captured_at=NOON,
        reason=Reason.CONTROL, part_id="部品 1", original_name="傷/部品 1.jpg",
        detections=(Detection("傷", 0.5, Box(1, 2, 3, 4)),),
    )  # fmt: skip
    raw = RawImages(store, installation.bucket("raw"))
    return raw, data, honest, raw.put(data, honest, site="nagoya")


@pytest.mark.parametrize(
    "change",
    [
        {"camera": "x" * 201},
        {"camera": "top\nERROR all is well"},
        {"part_id": "x" * 201},
        {"part_id": "P-1\x1b[2J"},
        {"part_id": "P-1\u202egpj.exe"},
        {"original_name": "x" * 1025},
        {"original_name": "a\x00.jpg"},
        {"release_digest": "x" * 201},
        {"capture_id": "\x07"},
        {"detections": (Detection("a\r", 0.5, Box(1, 2, 3, 4)),)},
        {"detections": (Detection("a", 0.5, Box(1, 2, 3, 4)),) * 1001},
    ],
)
def test_a_capture_without_form_is_passed_over_and_the_honest_one_is_read(sent, store, installation, change, caplog):
    """Long texts, line breaks, terminal sequences, reversed writing; kanji are no such thing."""
    raw, data, honest, stored = sent
    key = stored.uri.split("/", 3)[3]
    bad = dataclasses.replace(honest, **change)
    store.put(installation.bucket("raw"), capture_key(key, "bad"), bad.to_json())
    (image,) = [image for image in raw.list_images() if image.sha256 == sha256_of(data)]
    assert list(raw.captures(image)) == [honest]
    assert sum("is passed over" in message for message in caplog.messages) == 1


def test_of_an_object_without_end_no_more_than_the_limit_is_read(store, installation):
    """An object above the limit is refused by its size. An object of exactly the limit is read."""
    bucket, key = installation.bucket("state"), "large"
    store.put(bucket, key, b"x" * 1000)
    assert store.get(bucket, key, max_bytes=1000) == b"x" * 1000
    with pytest.raises(ObjectTooLarge, match="at most 999 bytes"):
        store.get(bucket, key, max_bytes=999)


def test_an_image_that_something_huge_was_put_over_is_fetched_as_it_was(sent, store, installation, monkeypatch):
    """An image that was overwritten by a too large object is still fetched. A too large object alone is no image."""
    raw, data, _, stored = sent
    monkeypatch.setattr(raw_images, "MAX_IMAGE_BYTES", 10_000)
    bucket = installation.bucket("raw")
    huge = b"x" * 10_001
    store.put(bucket, stored.uri.split("/", 3)[3], huge)
    assert raw.fetch(stored.uri, sha256_of(data)) == data
    key = f"nagoya/line-1/2025/04/03/{sha256_of(huge)}.jpg"
    store.put(bucket, key, huge)
    with pytest.raises(ObjectNotFound):
        raw.fetch(f"s3://{bucket}/{key}", sha256_of(huge))


def test_a_capture_that_is_nested_without_end_is_passed_over(sent, store, installation):
    """The reader does not run out of its stack."""
    raw, data, honest, stored = sent
    deep = json.loads(honest.to_json())
    text = json.dumps(deep)[:-1] + ', "x": ' + "[" * 50_000 + "]" * 50_000 + "}"
    store.put(installation.bucket("raw"), capture_key(stored.uri.split("/", 3)[3], "deep"), text.encode())
    (image,) = [image for image in raw.list_images() if image.sha256 == sha256_of(data)]
    assert list(raw.captures(image)) == [honest]
