"""The scans that are measured. Each runs in a process of its own, so that its resident memory is measured alone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from benchmarks.labels.listing import PagedListing
from benchmarks.labels.material import LAST_DAY, USE_CASE, Factory, label_events, make_factory
from components.labeling.candidates import memories, without_approval
from components.labeling.known_images import scan_images
from components.labeling.known_labels import scan_labels
from components.settings import Settings
from components.stores.labels.store import LabelStore
from components.stores.labels.upkeep import compact
from components.stores.objects.list_page import ListPage
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.columns import list_columns
from components.stores.raw_images.images import RawImages
from components.stores.raw_images.listing import Lister, RawListing, Span

_COMMIT = 20_000  # events
_PUTS_AT_ONCE = 16
_NEW_SEED = 3


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a measurement: the numbers of images and label events.

    new: images and label events that arrive between the two scans. real: S3 itself lists the images.
    """

    images: int
    events: int
    new: int
    real: bool

    @property
    def prefix(self) -> str:
        """The prefix of the buckets for this size."""
        return f"bench-{self.images}-{'real' if self.real else 'served'}-"


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: its seconds, and what it read. resident_bytes: the peak of its process."""

    full: bool
    listing_s: float
    table_s: float
    rest_s: float
    pages: int
    keys: int
    rows: int
    found: int
    resident_bytes: int

    @property
    def whole_s(self) -> float:
        """Seconds from the start to the first candidates."""
        return self.listing_s + self.table_s + self.rest_s


class CountedListing:
    """S3's own listing. pages, keys: the number served so far."""

    def __init__(self, lister: Lister) -> None:
        self._lister = lister
        self.pages = 0
        self.keys = 0

    def list_page(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None
    ) -> ListPage:
        """See the port."""
        page = self._lister.list_page(bucket, prefix=prefix, delimiter=delimiter, start_after=start_after, token=token)
        self.pages += 1
        self.keys += len(page.keys)
        return page


def fill(settings: Settings, size: Size) -> float:
    """Make the buckets, fill the label table with `append`, and for a real size put the objects.

    Returns:
        The seconds of the last append.
    """
    store = S3ObjectStore.from_settings(settings)
    for name in ("raw", "labels", "state"):
        store._client.create_bucket(Bucket=settings.bucket(name))
    factory = make_factory(size.images)
    if size.real:
        put_images(store, settings.bucket("raw"), factory)
    return append_events(settings, factory, size.events)


def add_new(settings: Settings, size: Size) -> None:
    """Add what arrives between two scans: new images of the day, and new label events."""
    factory = make_factory(size.images)
    append_events(settings, factory, size.new, first=size.events // 2)
    if size.real:
        known = set(factory.image_keys())
        more = factory.with_more(size.new, _NEW_SEED)
        put_images(S3ObjectStore.from_settings(settings), settings.bucket("raw"), more, known)


def append_events(settings: Settings, factory: Factory, events: int, *, first: int = 0) -> float:
    """Append label events in commits of 20,000, and return the seconds of the last commit."""
    labels = LabelStore.open(settings)
    made = label_events(factory, events, first=first)
    took_s = 0.0
    while batch := list(islice(made, _COMMIT)):
        began = time.monotonic()
        labels.append(batch)
        took_s = time.monotonic() - began
    return took_s


def put_images(store: S3ObjectStore, bucket: str, factory: Factory, known: set[str] | None = None) -> None:
    """Put an object for each image and each capture. No scan reads their content."""
    keys = [name for key in factory.image_keys() if key not in (known or ()) for name in (key, factory.capture_of(key))]
    with ThreadPoolExecutor(_PUTS_AT_ONCE) as pool:
        list(pool.map(lambda key: store.put(bucket, key, b"x"), keys))


def compact_table(settings: Settings) -> int:
    """Compact the table, and return how many files were joined."""
    return compact(LabelStore.open(settings)).files_removed


def scan(settings: Settings, size: Size, with_new: bool, full: bool) -> Scan:
    """Find the images without an approved label as the labeling step does, with its memory in S3."""
    store = S3ObjectStore.from_settings(settings)
    raw = RawImages(store, settings.bucket("raw"))
    if size.real:
        lister: CountedListing | PagedListing = CountedListing(store)
    else:
        factory = make_factory(size.images)
        lister = PagedListing(factory.with_more(size.new, _NEW_SEED) if with_new else factory)
    memory = memories(store, settings.bucket("state"), USE_CASE)
    now = datetime.combine(LAST_DAY, datetime.min.time(), UTC) + timedelta(hours=12, minutes=with_new)
    forget_peak()

    began = time.monotonic()
    images = scan_images(RawListing(lister, settings.bucket("raw")), memory.images, now, full=full)
    listed = time.monotonic()
    labelled = scan_labels(LabelStore.open(settings), USE_CASE, memory.labels, now, full=full)
    read = time.monotonic()
    candidates = without_approval(raw, images.rows, labelled.approved, labelled.waiting)
    first = candidates[:200]
    ended = time.monotonic()
    assert len(first) == min(200, len(candidates))
    return Scan(
        full=images.full and labelled.full,
        listing_s=listed - began,
        table_s=read - listed,
        rest_s=ended - read,
        pages=lister.pages,
        keys=lister.keys,
        rows=labelled.fresh,
        found=len(candidates),
        resident_bytes=peak_bytes(),
    )


def full_page_s(settings: Settings) -> float:
    """Seconds per page of S3's own listing. It lists by device and not by month, so that nearly all pages are full."""
    lister = CountedListing(S3ObjectStore.from_settings(settings))
    listing = RawListing(lister, settings.bucket("raw"))
    devices = listing.devices()
    lister.pages = 0
    began = time.monotonic()
    list_columns(listing, [Span(f"{device}/") for device in devices])
    return (time.monotonic() - began) / lister.pages


def forget_peak() -> None:
    """Reset the process's memory peak: what was made before is not part of what is measured."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """The process's memory peak since its start, or since `forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
