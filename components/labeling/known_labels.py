"""The label state of each image of a use case, read from the rows that are new since the last scan."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

import pyarrow as pa

from components.labeling.scan_memory import MAX_SEGMENTS, ScanDocument, ScanMemory, StoredMemory
from components.stores.labels.store import SCHEMA, LabelStore, Mark
from components.stores.labels.views import COLUMNS, condensed, images_by_label
from components.stores.objects.s3 import S3ObjectStore

_log = logging.getLogger(__name__)

_SCHEMA: Final = pa.schema([SCHEMA.field(name) for name in COLUMNS])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsScan(ScanDocument):
    """table_id, table_version: of the label store. The segments hold its rows up to this version."""

    table_id: str
    table_version: int


LabelsMemory: TypeAlias = ScanMemory[LabelsScan]


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """approved, waiting: sha256 of the images with an approved label, and of those whose boxes wait for the verifier.

    imported, unusable: as in `ImagesByLabel`. full: the whole table was read; fresh: rows that were read.
    """

    approved: pa.ChunkedArray
    waiting: pa.ChunkedArray
    imported: pa.ChunkedArray
    unusable: pa.ChunkedArray
    full: bool
    fresh: int


def labels_memory(store: S3ObjectStore, bucket: str, use_case: str) -> LabelsMemory:
    """The memory of a use case's labels. bucket: the state bucket."""
    return ScanMemory(store, bucket, f"labels/{use_case}", LabelsScan, _SCHEMA)


def scan_labels(
    labels: LabelStore, use_case: str, memory: LabelsMemory | None, now: datetime, *, full: bool = False
) -> KnownLabels:
    """Find which images are approved and which wait for the verifier. Reads no more than it must, unless `full`.

    Raises:
        ObjectStoreError, LabelStoreError: the memory or the table could not be read, or the memory not written.
    """
    found: StoredMemory[LabelsScan] = memory.read() if memory else StoredMemory(None, None)
    known = found.memory if not (full or found.memory is None or found.memory.document.full_is_due(now)) else None
    after = Mark(known.document.table_id, known.document.table_version) if known else None
    read = labels.columns(COLUMNS, use_case=use_case, after=after)
    fresh, whole = read.rows.num_rows, read.whole
    if known is None or whole:
        rows = condensed(read.rows)
        if memory:
            memory.replace(_document(read.mark, (memory.save(rows),), now, now), found)
    else:
        last = known.document
        rows = condensed(pa.concat_tables([known.rows, read.rows])) if fresh else known.rows
        if memory:
            if not fresh:
                segments = last.segments
            elif len(last.segments) < MAX_SEGMENTS:
                segments = (*last.segments, memory.save(read.rows))
            else:
                segments = (memory.save(rows),)
            memory.replace(_document(read.mark, segments, max(now, last.looked_at), last.full_at), found)
    _log.info("%d label events were read", fresh)
    images = images_by_label(rows)
    return KnownLabels(images.approved, images.waiting, images.imported, images.unusable, whole, fresh)


def _document(mark: Mark, segments: tuple[str, ...], looked_at: datetime, full_at: datetime) -> LabelsScan:
    return LabelsScan(
        looked_at=looked_at,
        full_at=full_at,
        segments=segments,
        table_id=mark.table_id,
        table_version=mark.version,
    )
