"""Ours beside the reference sample's way: the same keys, the same label events, both in memory; the finding alone."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyarrow as pa

from benchmarks.labels import reference
from benchmarks.labels.material import label_events, make_factory
from components.labeling.candidates import without_approval
from components.stores.labels.store import SCHEMA
from components.stores.labels.views import COLUMNS, images_by_label
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.columns import parse_image_keys
from components.stores.raw_images.images import RawImages

_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Compared:
    """Seconds, the least of five in turns, for so many images and as many label events.

    reading_s: the keys of the listing's pages into columns, which is ours to do. found: by both, or it is an error.
    """

    images: int
    reference_s: float
    ours_s: float
    reading_s: float
    found: int

    @property
    def times(self) -> float:
        """How much faster ours finds."""
        return self.reference_s / self.ours_s

    @property
    def times_with_reading(self) -> float:
        """The same with the reading of the keys counted as ours."""
        return self.reference_s / (self.ours_s + self.reading_s)


def compare(images: int) -> Compared:
    """Measure both on a factory of this size.

    Raises:
        RuntimeError: they do not find the same images.
    """
    factory = make_factory(images)
    keys = list(factory.image_keys())
    events = list(label_events(factory, images))
    uris = [f"s3://kizu-raw/{key}" for key in keys]
    rows = [{"image_uri": event.image_uri, "status": str(event.status)} for event in events]
    columns = pa.Table.from_pylist(
        [{name: getattr(event, name) for name in COLUMNS} | {"status": str(event.status)} for event in events],
        schema=pa.schema([SCHEMA.field(name) for name in COLUMNS]),
    )
    raw = RawImages(S3ObjectStore("http://127.0.0.1:1", "us-east-1", "-", "-"), "kizu-raw")  # nothing is asked of it

    reference_s, ours_s, reading_s = [], [], []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        theirs = reference.find_unlabelled(uris, rows)
        reference_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        listed = parse_image_keys(keys)
        reading_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        stand = images_by_label(columns)
        ours = without_approval(raw, listed, stand.approved, stand.waiting)
        ours_s.append(time.perf_counter() - began)
    if sorted(theirs) != sorted(image.uri for image in ours):
        raise RuntimeError(f"the two ways find different images: {len(theirs)} and {len(ours)}")
    return Compared(images, min(reference_s), min(ours_s), min(reading_s), len(theirs))
