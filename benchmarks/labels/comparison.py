"""Our way to find images without an approved label beside the reference sample's way.

Both get the same keys and the same label events in memory. Only the finding is timed.
"""

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
    """Seconds for a number of images and as many label events: the least of five runs, where the ways take turns.

    reading_s: the time to parse the listed keys into columns, which only our way needs. found: how many images both
    ways found.
    """

    images: int
    reference_s: float
    ours_s: float
    reading_s: float
    found: int

    @property
    def times(self) -> float:
        """How many times faster our way finds the images."""
        return self.reference_s / self.ours_s

    @property
    def times_with_reading(self) -> float:
        """The same, with the parsing of the keys counted as part of our way."""
        return self.reference_s / (self.ours_s + self.reading_s)


def compare(images: int) -> Compared:
    """Measure both ways on a factory with this number of images.

    Raises:
        RuntimeError: the two ways find different images.
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
    raw = RawImages(S3ObjectStore("http://127.0.0.1:1", "us-east-1", "-", "-"), "kizu-raw")  # no request is sent

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
