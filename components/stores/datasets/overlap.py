"""What a former model learned from among the images that another model is judged on: a pure rule over two manifests."""

from __future__ import annotations

from components.stores.datasets.manifest import Manifest, SplitName


def seen_before(judged_on: Manifest, learned_from: Manifest) -> frozenset[str]:
    """sha256 of the test images of `judged_on` that the other dataset had in train or val.

    An image counts if it is there itself, or if its group has an image there. A model looks too good on such images.
    """
    taught = [*learned_from.of(SplitName.TRAIN), *learned_from.of(SplitName.VAL)]
    images, groups = {image.sha256 for image in taught}, {image.group for image in taught}
    return frozenset(
        image.sha256 for image in judged_on.of(SplitName.TEST) if image.sha256 in images or image.group in groups
    )
