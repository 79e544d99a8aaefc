"""The dataset manifest: what one training saw, content-addressed. Same labels, same use case: same digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from components.object_store import S3ObjectStore
from inspection.codec import Document, Part
from inspection.documents import LabelledRegion, check_sha256
from inspection.geometry import LabelledBox

_KEY = re.compile(r"manifests/(?P<digest>[0-9a-f]{64})\.json")


class ManifestError(ValueError):
    """A manifest whose bytes are not those of its digest."""


class SplitName(StrEnum):
    """Train learns, val chooses the threshold, test judges."""

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
        """The boxes as checked values."""
        return tuple(LabelledBox(region.class_name, region.to_box()) for region in self.boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Document):
    """Images sorted by sha256, with their split."""

    use_case: str
    classes: tuple[str, ...]
    split_seed: int
    images: tuple[ManifestImage, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def of(self, split: SplitName) -> tuple[ManifestImage, ...]:
        """The images of one split."""
        return tuple(image for image in self.images if image.split is split)


def regions(boxes: Iterable[LabelledBox]) -> tuple[LabelledRegion, ...]:
    """Labelled boxes on the wire, in a fixed order."""
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
    """Where a manifest lies in the datasets bucket."""
    return f"manifests/{check_sha256(digest)}.json"


def save_manifest(store: S3ObjectStore, bucket: str, manifest: Manifest) -> str:
    """Write it once; returns its digest."""
    digest = manifest.digest
    store.put(bucket, manifest_key(digest), manifest.to_json(), if_absent=True, content_type="application/json")
    return digest


def load_manifest(store: S3ObjectStore, bucket: str, digest: str) -> Manifest:
    """Read a manifest and check its bytes.

    Raises:
        ManifestError: they are not those of the digest.
        ObjectNotFound: there is none.
    """
    return read_manifest(store.get(bucket, manifest_key(digest)), digest)


def manifest_digests(store: S3ObjectStore, bucket: str, prefix: str = "") -> Iterator[str]:
    """The digests of all manifests that are there, in their order; optionally those that begin so."""
    for info in store.list(bucket, f"manifests/{prefix}"):
        if match := _KEY.fullmatch(info.key):
            yield match["digest"]


def read_manifest(data: bytes, digest: str) -> Manifest:
    """A manifest of bytes that were fetched; errors as of `load_manifest`."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise ManifestError(f"the manifest {digest} has other bytes than its name says; it was damaged or replaced")
    return Manifest.from_json(data)
