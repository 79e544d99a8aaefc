"""Groups of a dataset that contain near-duplicates of each other. Images are hashed, then confirmed in pairs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.stores.labels.store import LabelEvent
from components.stores.objects.image_cache import Fetch
from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import ObjectNotFound
from components.stores.raw_images.comparisons import Comparisons, NoComparisons
from components.stores.raw_images.near_duplicates import Fingerprint, find_near_duplicates, fingerprint, thumbnail
from inspection.image import ImageError, decode_image

_log = logging.getLogger(__name__)

# How many fingerprints may wait at once. They are small; an image is in memory only while a thread reads it.
_AT_ONCE: Final = 256
_NOTHING_KNOWN: Final = NoComparisons()


def linked_groups(
    labels: Mapping[str, LabelEvent],
    groups: Mapping[str, str],
    fetch: Fetch,
    known: Comparisons = _NOTHING_KNOWN,
) -> list[tuple[str, str]]:
    """Pairs of different groups that contain near-duplicate images.

    groups: sha256 -> group. known: results of earlier comparisons.

    An image that is gone or damaged is not compared, and the log says how many there are. The training, which needs the
    image, refuses it.

    Raises:
        ObjectStoreError: the store did not answer. A dataset must not depend on whether it does.
    """

    def load(sha256: str) -> NDArray[np.uint8] | None:
        try:
            return decode_image(fetch(labels[sha256].image_uri, sha256))
        except (ObjectNotFound, ImageError) as e:
            _log.debug("%s is not compared: %s", labels[sha256].image_uri, e)
            return None

    def look(sha256: str) -> tuple[str, Fingerprint | None]:
        image = load(sha256)
        return sha256, None if image is None else fingerprint(thumbnail(image))

    found = read_ahead(look, sorted(labels), at_most=_AT_ONCE)
    prints = {sha256: known for sha256, known in found if known is not None}
    if len(prints) < len(labels):
        _log.warning("%d of %d images are gone or damaged", len(labels) - len(prints), len(labels))
    pairs = find_near_duplicates(prints, load, wanted=lambda a, b: groups[a] != groups[b], known=known)
    return sorted({(min(one, other), max(one, other)) for one, other in ((groups[p.a], groups[p.b]) for p in pairs)})
