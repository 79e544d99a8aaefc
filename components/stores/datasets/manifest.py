"""The dataset manifest: what one training learns from and is judged on, named by its digest.

The same labels and the same use case give the same digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from components.stores.objects.s3 import S3ObjectStore
from inspection.codec import Document, Part, canonical_json
from inspection.documents import LabelledRegion, check_sha256
from inspection.geometry import LabelledBox

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
    """The images of a dataset, sorted by sha256, with their labels and splits."""

    use_case: str
    classes: tuple[str, ...]
    split_seed: int
    images: tuple[ManifestImage, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes; the name of the dataset."""
        return hashlib.sha256(self.to_json()).hexdigest()

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
    """Labelled boxes as they are stored, sorted by class and place."""
    found = [
        LabelledRegion(
            class_name=b.class_name,
            x=float(b.box.x),
            y=float(b.box.y),
            width=float(b.box.width),
            height=float(b.box.height),
        )  # float: the digest of 1 is not that of 1.0
        for b in boxes
    ]
    return tuple(sorted(found, key=lambda r: (r.class_name, r.x, r.y, r.width, r.height)))


def manifest_key(digest: str) -> str:
    """The key of a manifest in the datasets bucket."""
    return f"manifests/{check_sha256(digest)}.json"


def save_manifest(store: S3ObjectStore, bucket: str, manifest: Manifest) -> str:
    """Store a manifest, unless it is there, and return its digest."""
    digest = manifest.digest
    store.put(bucket, manifest_key(digest), manifest.to_json(), if_absent=True, content_type="application/json")
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
    if hashlib.sha256(data).hexdigest() != digest:
        raise ManifestError(f"the manifest {digest} has other bytes than its name says; it was damaged or replaced")
