"""The images of the raw bucket, found by listing only what may be new since the last scan.

A device puts an image below the day of its capture and may send it later: after `OUTBOX_AGE` at the latest, if it stays
switched on. So an incremental scan lists, device by device, all days from the last scan minus that age on. It lists
completely: devices that it does not know, and importers, because their days are those of old files.

An incremental scan does not see the images of a device whose clock is behind, or that was switched off for longer. The
next full scan finds them. A full scan runs every week, when the memory is lost, and on demand.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from components.labeling.scan_memory import MAX_SEGMENTS, ScanDocument, ScanMemory, StoredMemory
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.columns import IMAGES, keys_of, list_columns
from components.stores.raw_images.listing import RawListing

_log = logging.getLogger(__name__)

# The default of `outbox.max_age_days` on a device. If a device keeps images for longer, full scans find them.
OUTBOX_AGE: Final = timedelta(days=30)
_CLOCKS: Final = timedelta(days=1)  # how far the clocks of devices, this machine and the store may differ
_IMPORTER: Final = "import-"

ImagesMemory: TypeAlias = ScanMemory[ScanDocument]


@dataclass(frozen=True, slots=True)
class KnownImages:
    """rows: `IMAGES`, one a key; full: everything was listed; fresh: how many rows the last scan did not know.

    several: sha256 of the images for which this scan listed several Captures: an objection, or releases that disagreed.
    """

    rows: pa.Table
    full: bool
    fresh: int
    several: frozenset[str] = frozenset()


def images_memory(store: S3ObjectStore, bucket: str) -> ImagesMemory:
    """The memory of the raw bucket, shared by all use cases. bucket: the state bucket."""
    return ScanMemory(store, bucket, "images", ScanDocument, IMAGES)


def scan_images(listing: RawListing, memory: ImagesMemory | None, now: datetime, *, full: bool = False) -> KnownImages:
    """Find all images. Lists no more than it must, unless `full`.

    Raises:
        ObjectStoreError: the bucket or the memory could not be read or written.
    """
    found: StoredMemory[ScanDocument] = memory.read() if memory else StoredMemory(None, None)
    devices = listing.devices()
    known = found.memory
    if full or known is None or known.document.full_is_due(now):
        rows, several = list_columns(listing, listing.spans(devices))
        if memory:
            document = ScanDocument(looked_at=now, full_at=now, segments=(memory.save(rows),))
            memory.replace(document, found)
        return KnownImages(rows, full=True, fresh=rows.num_rows, several=several)
    since = (known.document.looked_at - OUTBOX_AGE - _CLOCKS).date()
    seen = _devices_of(known.rows)
    resumed = [device for device in devices if device in seen and not _is_importer(device)]
    whole = [device for device in devices if device not in seen or _is_importer(device)]
    listed, several = list_columns(listing, [*listing.spans(resumed, since), *listing.spans(whole)])
    fresh = _not_among(listed, known.rows)
    rows = pa.concat_tables([known.rows, fresh])
    if memory:
        memory.replace(_next(memory, known.document, rows, fresh, now), found)
    _log.info("%d of %d listed images are new", fresh.num_rows, listed.num_rows)
    return KnownImages(rows, full=False, fresh=fresh.num_rows, several=several)


def _next(memory: ImagesMemory, last: ScanDocument, rows: pa.Table, fresh: pa.Table, now: datetime) -> ScanDocument:
    if not fresh.num_rows:
        segments = last.segments
    elif len(last.segments) < MAX_SEGMENTS:
        segments = (*last.segments, memory.save(fresh))
    else:
        segments = (memory.save(rows),)
    return ScanDocument(looked_at=max(now, last.looked_at), full_at=last.full_at, segments=segments)


def _devices_of(rows: pa.Table) -> frozenset[str]:
    return frozenset("/".join(folder.split("/")[:2]) for folder in pc.unique(rows["folder"]).to_pylist())


def _is_importer(device: str) -> bool:
    return device.split("/")[1].startswith(_IMPORTER)


def _not_among(listed: pa.Table, known: pa.Table) -> pa.Table:
    near = known.filter(pc.is_in(known["folder"], value_set=pc.unique(listed["folder"])))
    return listed.filter(pc.invert(pc.is_in(keys_of(listed), value_set=keys_of(near).combine_chunks())))
