"""A dataset of good parts alone: which trainer takes it, and what it needs."""

import dataclasses

import pytest

from components.dataset.freeze import DatasetError, build_manifest
from components.stores.datasets.manifest import SplitName
from components.use_case import UseCase
from tests.components.dataset.approved_labels import SCRATCH, USE_CASE, event, labels

GOOD_ONLY = UseCase.model_validate({**USE_CASE.model_dump(), "training": {"detector": "patchcore"}})


def test_good_parts_alone_make_a_dataset_for_a_model_that_learns_from_them():
    """A detector refuses the same labels, and names the trainer that takes them."""
    good = labels(40, boxes=())
    manifest = build_manifest(good, GOOD_ONLY)
    assert len(manifest.images) == 40
    assert not any(image.boxes for image in manifest.images)
    assert manifest.classes == ("scratch",)
    with pytest.raises(DatasetError, match=r"cannot learn from good parts alone, but `training\.detector: patchcore`"):
        build_manifest(good, USE_CASE)


def test_the_same_labels_are_the_same_dataset_for_either_trainer():
    """So that nothing is labelled, split or frozen again when a detector follows."""
    mixed = {e.sha256: e for e in (event(n, boxes=SCRATCH if n % 2 else ()) for n in range(60))}
    assert build_manifest(mixed, GOOD_ONLY).digest == build_manifest(mixed, USE_CASE).digest


def test_without_good_parts_it_is_refused_with_the_counts():
    """Nothing but defective parts is no dataset of good parts; nor are parts that all fall to other splits."""
    with pytest.raises(DatasetError, match=r"expected at least 5 images without a defect in the train split.*are 0"):
        build_manifest(labels(40), GOOD_ONLY)
    good = labels(40, boxes=())
    splits = {image.sha256: image.split for image in build_manifest(good, GOOD_ONLY).images}
    spoilt = {
        sha256: dataclasses.replace(one, boxes=SCRATCH) if splits[sha256] is SplitName.VAL else one
        for sha256, one in good.items()
    }
    with pytest.raises(DatasetError, match=r"expected at least 1 images without a defect in the val split"):
        build_manifest(spoilt, GOOD_ONLY)
