"""The images without an approved label, in columns. An object is made of an image only when a caller asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import overload

import pyarrow as pa
import pyarrow.compute as pc

from components.labeling.known_images import ImagesMemory, images_memory, scan_images
from components.labeling.known_labels import LabelsMemory, labels_memory, scan_labels
from components.stores.labels.store import LabelStore
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.columns import keys_of
from components.stores.raw_images.images import RawImage, RawImages
from components.stores.raw_images.sources import of_use_case

_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Memories:
    """The memories of the last scans: of the images, and of the labels of a use case."""

    images: ImagesMemory
    labels: LabelsMemory


def memories(store: S3ObjectStore, bucket: str, use_case: str) -> Memories:
    """The memories in the state bucket."""
    return Memories(images_memory(store, bucket), labels_memory(store, bucket, use_case))


class Candidates(Sequence[RawImage]):
    """Images without an approved label, each once. The order is the same on every run.

    Unseen images come before waiting ones, then the newest day first, then by sha256. `waiting`: sha256 of those
    whose boxes wait for the verifier.
    several: sha256 of images for which several Captures were listed. told: approved images among those.
    unusable: how many images people set aside. imported: how many have imported boxes, which the verifier gets.
    """

    def __init__(
        self,
        raw: RawImages,
        chosen: pa.Table,
        also_at: dict[str, list[str]],
        waiting: frozenset[str],
        images: pa.Table,
        several: frozenset[str] = frozenset(),
        *,
        told: Sequence[RawImage] = (),
        unusable: int = 0,
        imported: int = 0,
    ) -> None:
        """chosen: `key` and `sha256` of the candidates, in their order; images: of all."""
        self._raw = raw
        self._keys = chosen["key"].combine_chunks()
        self._sha256 = chosen["sha256"].combine_chunks()
        self._also_at = also_at
        self.waiting = waiting
        self.several = several
        self.told = tuple(told)
        self.unusable = unusable
        self.imported = imported
        self._images = images

    @property
    def known(self) -> int:
        """How many images there are in all."""
        return int(pc.count_distinct(self._images["sha256"]).as_py())

    def sha256(self, places: Sequence[int]) -> list[str]:
        """The digests at some places."""
        found: list[str] = self._sha256.take(pa.array(places, pa.int64())).to_pylist()
        return found

    def of_devices(self, devices: Collection[str]) -> frozenset[str]:
        """The sha256 of the candidates that one of these devices sent, by the key that names the image."""
        if not devices:
            return frozenset()
        device = pc.list_element(pc.split_pattern(self._keys, "/", max_splits=2), 1)
        sent = pc.is_in(device, value_set=pa.array(sorted(devices), pa.string()))
        return frozenset(self._sha256.filter(sent).to_pylist())

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> RawImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[RawImage]: ...
    def __getitem__(self, index: int | slice) -> RawImage | list[RawImage]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return [self._image(key) for key in self._keys[start:stop].to_pylist()[::step]]
        return self._image(self._keys[index].as_py())

    def __iter__(self) -> Iterator[RawImage]:
        for start in range(0, len(self), _CHUNK):
            yield from self[start : start + _CHUNK]

    def _image(self, key: str) -> RawImage:
        return self._raw.image([key, *self._also_at.get(key, ())])


def find_candidates(
    use_case: str,
    raw: RawImages,
    labels: LabelStore,
    memory: Memories | None = None,
    *,
    full: bool = False,
    now: datetime | None = None,
    sources: Sequence[str] = (),
) -> Candidates:
    """Scan the images and the labels; incrementally where there is a memory.

    Args:
        use_case: its name.
        raw: the raw bucket.
        labels: the label store.
        memory: of the last scan.
        full: scan everything, and remember it.
        now: the time of the scan.
        sources: the use case's sources; images of others are no candidates.

    Raises:
        ObjectStoreError, LabelStoreError: a store could not be read.
    """
    at = now or datetime.now(UTC)
    images = scan_images(raw.listing, memory.images if memory else None, at, full=full)
    labelled = scan_labels(labels, use_case, memory.labels if memory else None, at, full=full)
    own = of_use_case(images.rows, use_case, sources)
    return without_approval(
        raw,
        own,
        labelled.approved,
        labelled.waiting,
        images.several,
        imported=labelled.imported,
        unusable=labelled.unusable,
    )


def without_approval(
    raw: RawImages,
    images: pa.Table,
    approved: pa.ChunkedArray,
    waiting: pa.ChunkedArray,
    several: frozenset[str] = frozenset(),
    *,
    imported: pa.ChunkedArray | None = None,
    unusable: pa.ChunkedArray | None = None,
) -> Candidates:
    """The candidates among these images. images: `raw_columns.IMAGES`; the others: sha256.

    Images that are unusable, or whose imported boxes wait for the verifier, are no candidates.
    """
    none = pa.chunked_array([], pa.string())
    imported = none if imported is None else imported
    unusable = none if unusable is None else unusable
    is_approved = pc.is_in(images["sha256"], value_set=approved.combine_chunks())
    told: list[RawImage] = []
    if several:
        asked = pc.and_(is_approved, pc.is_in(images["sha256"], value_set=pa.array(sorted(several), pa.string())))
        told = _images(raw, images.filter(asked))
    left = images.filter(pc.invert(is_approved))
    for others in (imported, unusable):
        if len(others):
            left = left.filter(pc.invert(pc.is_in(left["sha256"], value_set=others.combine_chunks())))
    left = left.append_column("key", keys_of(left))
    also_at: dict[str, list[str]] = {}
    if pc.count_distinct(left["sha256"]).as_py() != left.num_rows:
        left, also_at = _once(left)
    waits = pc.is_in(left["sha256"], value_set=waiting.combine_chunks())
    left = left.append_column("waits", waits).append_column("day", pc.utf8_slice_codeunits(left["folder"], -10))
    order = pc.sort_indices(left, sort_keys=[("waits", "ascending"), ("day", "descending"), ("sha256", "ascending")])
    return Candidates(
        raw,
        left.select(["key", "sha256"]).take(order),
        also_at,
        frozenset(left["sha256"].filter(left["waits"]).to_pylist()),
        images,
        several,
        told=told,
        unusable=len(unusable),
        imported=len(imported),
    )


def _images(raw: RawImages, images: pa.Table) -> list[RawImage]:
    """The images of some rows, each once. images: `raw_columns.IMAGES`."""
    keys: dict[str, list[str]] = {}
    for sha256, key in zip(images["sha256"].to_pylist(), keys_of(images).to_pylist(), strict=True):
        keys.setdefault(sha256, []).append(key)
    return [raw.image(sorted(found)) for _, found in sorted(keys.items())]


def _once(images: pa.Table) -> tuple[pa.Table, dict[str, list[str]]]:
    """One row for each image, that of its smallest key; and the image's other keys by that key."""
    counted = pc.value_counts(images["sha256"])
    several = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    is_several = pc.is_in(images["sha256"], value_set=several)
    again = images.filter(is_several)
    keys: dict[str, list[str]] = {}
    for sha256, key in zip(again["sha256"].to_pylist(), again["key"].to_pylist(), strict=True):
        keys.setdefault(sha256, []).append(key)
    named = [sorted(found) for found in keys.values()]
    first = again.filter(pc.is_in(again["key"], value_set=pa.array([found[0] for found in named], pa.string())))
    return pa.concat_tables([images.filter(pc.invert(is_several)), first]), {found[0]: found[1:] for found in named}
