"""The raw bucket on a real S3, as devices honest and stolen write to it."""

import dataclasses
import json
from datetime import UTC, date, datetime

import pytest

from components.stores.objects.s3 import ObjectNotFound
from components.stores.raw_images.images import RawImages, capture_id_for
from inspection.documents import Capture, Reason
from inspection.image import ImageError, sha256_of
from inspection.paths import capture_key
from tests.components.stores.raw_images.photographs import jpeg

NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)


def capture_of(data, *, device="line-1", at=NOON, capture_id="c-1"):
    return Capture(
        capture_id=capture_id,
        sha256=sha256_of(data),
        device=device,
        camera="top",
        captured_at=at,
        reason=Reason.CONTROL,
    )


@pytest.fixture(scope="module")
def bucket(installation):
    return installation.bucket("raw")


@pytest.fixture(scope="module")
def raw(store, bucket):
    return RawImages(store, bucket)


def images(raw, data):
    return [image for image in raw.list_images() if image.sha256 == sha256_of(data)]


def test_an_image_is_stored_under_its_digest_with_its_capture(raw, bucket):
    """A stored image has a key with its digest, its size, its device and its capture."""
    data = jpeg(1)
    stored = raw.put(data, capture_of(data), site="nagoya")
    assert stored.uri == f"s3://{bucket}/nagoya/line-1/2025/04/01/{sha256_of(data)}.jpg"
    assert (stored.width, stored.height, stored.new) == (32, 24, True)
    (image,) = images(raw, data)
    assert (image.uri, image.device, image.day) == (stored.uri, "line-1", date(2025, 4, 1))
    assert list(raw.captures(image)) == [capture_of(data)]
    assert raw.fetch(image.uri, image.sha256) == data


def test_putting_again_changes_nothing(raw, store, bucket):
    """The image is not new, and the first Capture stays as it was."""
    data = jpeg(2)
    first = raw.put(data, capture_of(data), site="nagoya")
    again = raw.put(data, dataclasses.replace(capture_of(data), camera="side"), site="nagoya")
    assert again == dataclasses.replace(first, new=False)
    assert [c.camera for c in raw.captures(images(raw, data)[0])] == ["top"]
    _, key = first.uri.removeprefix("s3://").split("/", 1)
    assert len(store._version_ids(bucket, key)) == 1


def test_one_image_sent_for_two_reasons_is_one_image_with_two_captures(raw):
    """An image sent by two devices on two days is one image with two captures."""
    data = jpeg(3)
    raw.put(data, capture_of(data), site="nagoya")
    raw.put(
        data, capture_of(data, device="line-2", at=datetime(2025, 4, 2, tzinfo=UTC), capture_id="c-2"), site="nagoya"
    )
    (image,) = images(raw, data)
    assert {capture.device for capture in raw.captures(image)} == {"line-1", "line-2"}


def test_a_capture_of_another_image_is_refused(raw):
    """A capture that names another image is refused, and nothing is written."""
    with pytest.raises(ValueError, match="the Capture is of image"):
        raw.put(jpeg(4), capture_of(jpeg(5)), site="nagoya")
    assert images(raw, jpeg(4)) == images(raw, jpeg(5)) == []


def test_bytes_that_are_no_image_are_not_stored(raw):
    """The bytes of a text are refused as an image, and nothing is stored."""
    with pytest.raises(ImageError):
        raw.put(b"hello", capture_of(b"hello"), site="nagoya")
    assert images(raw, b"hello") == []


def test_a_look_from_a_day_on_sees_that_day_and_later(raw):
    """The day of the key is that of the capture, in UTC."""
    for seed, day in ((60, 1), (61, 2), (62, 3)):
        at = datetime(2025, 5, day, tzinfo=UTC)
        raw.put(jpeg(seed), capture_of(jpeg(seed), at=at), site="nagoya")
    found = {image.sha256 for image in raw.list_images(since=date(2025, 5, 2))}
    assert found.isdisjoint({sha256_of(jpeg(60))})
    assert found >= {sha256_of(jpeg(61)), sha256_of(jpeg(62))}


def test_an_overwritten_image_is_still_fetched_as_it_was(raw, store, bucket):
    """A stolen device overwrites its own old image: the labels are about the old bytes, and get them."""
    data = jpeg(7)
    uri = raw.put(data, capture_of(data), site="nagoya").uri
    store.put(bucket, uri.removeprefix(f"s3://{bucket}/"), jpeg(8))
    assert raw.fetch(uri, sha256_of(data)) == data


def test_an_image_with_other_bytes_than_its_name_is_not_fetched(raw, store, bucket):
    """Put under a digest that it does not have."""
    key = f"nagoya/line-1/2025/04/01/{'cd' * 32}.jpg"
    store.put(bucket, key, jpeg(9))
    with pytest.raises(ObjectNotFound, match="no version with sha256"):
        raw.fetch(f"s3://{bucket}/{key}", "cd" * 32)


def test_captures_that_a_stolen_device_wrote_are_passed_over(raw, store, bucket, caplog):
    """No JSON, another image, another device's name, enormous: each is said, and the honest one is read."""
    data = jpeg(10)
    honest = capture_of(data)
    key = raw.put(data, honest, site="nagoya").uri.removeprefix(f"s3://{bucket}/")
    bad = {
        "no-json": b"\x00\xff",
        "no-object": b"[]",
        "other-image": dataclasses.replace(honest, sha256="ef" * 32).to_json(),
        "other-device": dataclasses.replace(honest, device="line-2").to_json(),
        "tomorrow": json.dumps({**json.loads(honest.to_json()), "schema_version": 9}).encode(),
        "enormous": json.dumps({**json.loads(honest.to_json()), "x": "y" * 300_000}).encode(),
        "overflow": json.dumps({**json.loads(honest.to_json()), "captured_at": "0001-01-01T00:00:00+14:00"}).encode(),
    }
    for name, content in bad.items():
        store.put(bucket, capture_key(key, name), content)
    (image,) = images(raw, data)
    assert len(image.capture_keys) == 1 + len(bad)
    assert list(raw.captures(image)) == [honest]
    assert sum("is passed over" in message for message in caplog.messages) == len(bad)


def test_what_is_not_of_the_layout_is_passed_over(raw, store, bucket):
    """An object outside the layout, such as a note at the top of the bucket, is not listed."""
    store.put(bucket, "readme.txt", b"hello")
    assert all("readme" not in image.uri for image in raw.list_images())


def test_the_id_of_an_imported_capture_is_the_same_again():
    """The same image, reason and time give the same id; another reason gives another id."""
    assert capture_id_for("a", "import", NOON) == capture_id_for("a", "import", NOON)
    assert capture_id_for("a", "import", NOON) != capture_id_for("a", "initial", NOON)
    assert len(capture_id_for("a", "import", NOON)) == 32
