"""The dataset manifest: content-addressed, and checked when it is read."""

import dataclasses
import hashlib
import json

import pytest

from components.stores.datasets.manifest import (
    Manifest,
    ManifestError,
    ManifestImage,
    SplitName,
    load_manifest,
    manifest_key,
    regions,
    save_manifest,
)
from components.stores.objects.s3 import ObjectNotFound
from inspection.geometry import Box, LabelledBox

BOXES = (LabelledBox("dent", Box(5, 6, 7, 8)), LabelledBox("scratch", Box(1, 2, 3, 4)))


def manifest(boxes=BOXES, split=SplitName.TRAIN):
    image = ManifestImage(
        sha256="ab" * 32, uri="s3://b/k", width=64, height=48, group="p", split=split, boxes=regions(boxes)
    )
    return Manifest(use_case="metal-tag", classes=("scratch", "dent"), split_seed=0, images=(image,))


def test_the_digest_knows_no_order_of_boxes_and_every_change():
    """The order of boxes does not change the digest; another split or a moved box does."""
    assert manifest().digest == manifest(BOXES[::-1]).digest
    assert manifest().digest != manifest(BOXES[:1]).digest
    assert manifest().digest != manifest(split=SplitName.TEST).digest
    assert manifest().digest == Manifest.from_json(manifest().to_json()).digest
    moved = (BOXES[0], LabelledBox("scratch", Box(1.5, 2, 3, 4)))
    assert manifest().digest != manifest(moved).digest


def test_a_manifest_is_read_as_it_was_saved(store, installation):
    """A saved manifest is read with its boxes as values."""
    bucket = installation.bucket("datasets")
    digest = save_manifest(store, bucket, manifest())
    assert digest == manifest().digest
    loaded = load_manifest(store, bucket, digest)
    assert loaded == manifest()
    assert loaded.images[0].labels == BOXES
    assert loaded.of(SplitName.TRAIN) == loaded.images
    assert loaded.of(SplitName.TEST) == ()


def stored_at(uri, boxes=BOXES):
    whole = manifest(boxes)
    return dataclasses.replace(whole, images=(dataclasses.replace(whole.images[0], uri=uri),))


def test_the_digest_knows_no_keys_and_no_errors_of_rounding():
    """An image under another key is the same, and so is a box that went through shares of the image and back."""
    assert stored_at("s3://b/other").digest == manifest().digest
    width, height = 641, 479
    drawn = Box(10.1, 20.3, 33.7, 41.9)
    shares = (drawn.x / width, drawn.y / height, drawn.width / width, drawn.height / height)
    x, y, w, h = (float(f"{share:.12g}") for share in shares)
    back = Box(x * width, y * height, w * width, h * height)
    assert back != drawn
    assert manifest((LabelledBox("dent", back),)).digest == manifest((LabelledBox("dent", drawn),)).digest
    assert (
        manifest((LabelledBox("dent", Box(0.0, 1, 2, 3)),)).digest
        == manifest((LabelledBox("dent", Box(-0.0, 1, 2, 3)),)).digest
    )


def test_a_box_that_ends_at_the_border_ends_there_on_the_grid():
    """Rounding never moves a side out of the image."""
    (region,) = regions([LabelledBox("dent", Box(10.0006, 0, 630.9994, 479))])
    assert region.x + region.width <= 641


def test_saving_again_keeps_the_keys_that_are_there_now(store, installation):
    """The images may have moved since. The dataset is the same, and its images are found."""
    bucket = installation.bucket("datasets")
    moved = stored_at("s3://b/moved", BOXES[1:])
    digest = save_manifest(store, bucket, stored_at("s3://b/first", BOXES[1:]))
    assert save_manifest(store, bucket, moved) == digest
    assert load_manifest(store, bucket, digest) == moved


def test_a_manifest_of_an_earlier_version_keeps_its_digest(store, installation):
    """It is named by all its bytes, and does not say a digest rule."""
    value = json.loads(manifest().to_json())
    del value["digest_rule"]
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    store.put(installation.bucket("datasets"), manifest_key(digest), data)
    loaded = load_manifest(store, installation.bucket("datasets"), digest)
    assert loaded.digest == digest
    assert Manifest.from_json(loaded.to_json()).digest == digest


def test_tampered_bytes_are_refused(store, installation):
    """A manifest with one label less than its digest says is refused."""
    bucket = installation.bucket("datasets")
    digest = save_manifest(store, bucket, manifest())
    store.put(bucket, manifest_key(digest), manifest(BOXES[:1]).to_json())
    with pytest.raises(ManifestError, match=f"{digest} has other bytes"):
        load_manifest(store, bucket, digest)


def test_saving_never_replaces(store, installation):
    """Saving does not replace other bytes under the same digest; reading them fails."""
    bucket = installation.bucket("datasets")
    other = dataclasses.replace(manifest(), split_seed=9)
    store.put(bucket, manifest_key(other.digest), b"occupied")
    assert save_manifest(store, bucket, other) == other.digest
    with pytest.raises(ManifestError):
        load_manifest(store, bucket, other.digest)


def test_a_digest_that_is_none_does_not_become_a_key(store, installation):
    """A parameter that is no digest reaches no object; an unknown digest is not found."""
    for digest in ("../../state/claims", "", "AB" * 32):
        with pytest.raises(ValueError, match="64 hexadecimal"):
            load_manifest(store, installation.bucket("datasets"), digest)
    with pytest.raises(ObjectNotFound):
        load_manifest(store, installation.bucket("datasets"), "00" * 32)
