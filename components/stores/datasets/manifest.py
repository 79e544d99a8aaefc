"""The dataset manifest: what one training learns from and is judged on, named by its digest.

The same labels and the same use case give the same digest. The digest covers everything but the keys of the images,
because a key is only a location: an image that was imported again under another name is the same image. Boxes are on a
grid of 1/1000 pixel, so that labels which went through another tool and back are the same labels.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

from components.stores.objects.s3 import S3ObjectStore
from inspection.codec import Document, Part, canonical_json
from inspection.documents import LabelledRegion, check_sha256
from inspection.geometry import LabelledBox

_GRID: Final = 3  # digits after the point, in pixels
_WHOLE_BYTES, _WITHOUT_KEYS = 1, 2  # digest rules

_KEY = re.compile(r"manifests/(?P<digest>[0-9a-f]{64})\.json")


class ManifestError(ValueError):
    """The bytes of a manifest do not have its digest, or are no manifest."""


class SplitName(StrEnum):
    """Train is learned from, val chooses the operating threshold, test judges the model."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestImage(Part):
    """One image. width, height and boxes: pixels after EXIF orientation."""

    sha256: str
    uri: str
    width: int
    height: int
    group: str
    split: SplitName
    boxes: tuple[LabelledRegion, ...] = ()

    def __post_init__(self) -> None:
        check_sha256(self.sha256)

    @property
    def labels(self) -> tuple[LabelledBox, ...]:
        """The boxes as checked values of `inspection`."""
        return tuple(LabelledBox(region.class_name, region.to_box()) for region in self.boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Document):
    """The images of a dataset, sorted by sha256, with their labels and splits.

    digest_rule: what the digest covers. 2: all but the images' keys; 1: all bytes, as in manifests of earlier versions,
    which do not say it.
    """

    use_case: str
    classes: tuple[str, ...]
    split_seed: int
    images: tuple[ManifestImage, ...]
    digest_rule: int = _WITHOUT_KEYS

    def __post_init__(self) -> None:
        if self.digest_rule not in (_WHOLE_BYTES, _WITHOUT_KEYS):
            raise ValueError(f"expected a digest_rule of 1 or 2, but got {self.digest_rule}; update this program")

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """See `Document`."""
        manifest = super(Manifest, cls).from_json(data)  # a class with slots has no super() without arguments
        return manifest if b'"digest_rule":' in data else replace(manifest, digest_rule=_WHOLE_BYTES)

    @property
    def digest(self) -> str:
        """The name of the dataset: SHA-256 of what the digest rule says."""
        return _content_digest(json.loads(self.to_json()), self.digest_rule)

    def of(self, split: SplitName) -> tuple[ManifestImage, ...]:
        """The images of one split."""
        return tuple(image for image in self.images if image.split is split)


@dataclass(frozen=True, slots=True)
class ManifestCounts:
    """How many images (by split), parts and boxes a manifest holds."""

    images: Mapping[SplitName, int]
    parts: int
    boxes: int


def count_manifest(images: Iterable[tuple[str, str, int]]) -> ManifestCounts:
    """Count a manifest. images: (split, group, number of boxes) of each image."""
    splits: Counter[str] = Counter()
    parts: set[str] = set()
    boxes = 0
    for split, group, count in images:
        splits[split] += 1
        parts.add(group)
        boxes += count
    return ManifestCounts({split: splits[split] for split in SplitName}, len(parts), boxes)


def find_in_manifest(data: bytes, digest: str, sha256: str) -> tuple[Manifest, ManifestCounts] | None:
    """The manifest with one image alone, and the counts of the whole; None where that image is not in it.

    Only the one image is decoded as a document: counting a hundred thousand images takes as long as decoding a few
    thousand.

    Raises:
        ManifestError: the bytes do not have the digest, or are no manifest.
    """
    if sha256.encode() not in data:
        return None
    _check_bytes(data, digest)
    try:
        value = json.loads(data)
        images = value["images"]
        found = [image for image in images if image["sha256"] == sha256]
        counts = count_manifest((image["split"], image["group"], len(image["boxes"])) for image in images)
        return (Manifest.from_json(canonical_json({**value, "images": found})), counts) if found else None
    except (ValueError, KeyError, TypeError, RecursionError) as e:  # a DocumentError is a ValueError
        raise ManifestError(f"the manifest {digest} does not have the expected form: {e!r}") from e


def regions(boxes: Iterable[LabelledBox]) -> tuple[LabelledRegion, ...]:
    """Labelled boxes as they are stored: on a grid of 1/1000 pixel, sorted by class and place."""
    found = []
    for labelled in boxes:
        # Corners, not sides, are put on the grid: so a box that ends at the border of its image still ends there.
        x1, y1, x2, y2 = (round(float(value), _GRID) for value in labelled.box.xyxy)
        found.append(
            LabelledRegion(
                class_name=labelled.class_name,
                x=x1 + 0.0,  # float and + 0.0: the digest of 1 is not that of 1.0, nor that of -0.0 the one of 0.0
                y=y1 + 0.0,
                width=round(x2 - x1, _GRID),
                height=round(y2 - y1, _GRID),
            )
        )
    return tuple(sorted(found, key=lambda r: (r.class_name, r.x, r.y, r.width, r.height)))


def manifest_key(digest: str) -> str:
    """The key of a manifest in the datasets bucket."""
    return f"manifests/{check_sha256(digest)}.json"


def save_manifest(store: S3ObjectStore, bucket: str, manifest: Manifest) -> str:
    """Store a manifest and return its digest.

    One that is there already stays, unless it differs in the keys of its images alone: the new keys are those that are
    there now.
    """
    digest = manifest.digest
    key, data = manifest_key(digest), manifest.to_json()
    if store.put(bucket, key, data, if_absent=True, content_type="application/json"):
        return digest
    there = store.get(bucket, key)
    if there != data and _has_digest(there, digest):
        store.put(bucket, key, data, content_type="application/json")
    return digest


def load_manifest(store: S3ObjectStore, bucket: str, digest: str) -> Manifest:
    """Read a manifest and check its bytes against the digest.

    Raises:
        ManifestError: the bytes do not have the digest.
        ObjectNotFound: there is no such manifest.
    """
    data = store.get(bucket, manifest_key(digest))
    _check_bytes(data, digest)
    return Manifest.from_json(data)


def manifest_digests(store: S3ObjectStore, bucket: str, prefix: str = "") -> Iterator[str]:
    """The digests of all stored manifests that begin with `prefix`, sorted."""
    for info in store.list(bucket, f"manifests/{prefix}"):
        if match := _KEY.fullmatch(info.key):
            yield match["digest"]


def _check_bytes(data: bytes, digest: str) -> None:
    if not _has_digest(data, digest):
        raise ManifestError(f"the manifest {digest} has other bytes than its name says; it was damaged or replaced")


def _has_digest(data: bytes, digest: str) -> bool:
    if hashlib.sha256(data).hexdigest() == digest:  # of an earlier version
        return True
    try:
        value = json.loads(data)
        return value["digest_rule"] == _WITHOUT_KEYS and _content_digest(value, _WITHOUT_KEYS) == digest
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _content_digest(value: Mapping[str, Any], rule: int) -> str:
    """value: a manifest as JSON."""
    if rule == _WHOLE_BYTES:
        value = {key: item for key, item in value.items() if key != "digest_rule"}
    else:
        images = [{key: item for key, item in image.items() if key != "uri"} for image in value["images"]]
        value = {**value, "images": images}
    return hashlib.sha256(canonical_json(value)).hexdigest()
