"""The memory of an incremental scan, in `kizu-state/looks/<name>/`.

The memory is a small document that names segments. Segments are Parquet files; each is named by its digest, is written
once, and is written before the document that names it. Only the document is replaced, and only if no other scan
replaced it meanwhile. Of two concurrent scans the first one's document stays, and both results are right. If the memory
is lost or damaged, the next scan is a full one.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from inspection.codec import Document, DocumentError
from inspection.image import sha256_of

_log = logging.getLogger(__name__)

MAX_SEGMENTS: Final = 16
FULL_EVERY: Final = timedelta(days=7)
_UNUSED_FOR: Final = timedelta(days=1)  # a scan that still reads a segment, or has just written one, takes minutes
_READS: Final = 3


class DamagedMemoryError(ValueError):
    """A segment is missing, or its bytes do not match its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanDocument(Document):
    """looked_at: when the last scan began; full_at: when the last full scan began; segments: digests, oldest first."""

    looked_at: datetime
    full_at: datetime
    segments: tuple[str, ...]

    def full_is_due(self, now: datetime) -> bool:
        """Whether a full scan is due: every week, and when the clock went back, because then its times are wrong."""
        return now - self.full_at >= FULL_EVERY or now < self.looked_at - timedelta(days=1)


D = TypeVar("D", bound=ScanDocument)


@dataclass(frozen=True, slots=True)
class Remembered(Generic[D]):
    """A whole memory: the document and the rows of its segments."""

    document: D
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class StoredMemory(Generic[D]):
    """A memory as it was read. memory: None where there is no usable one; etag: of the document, usable or not."""

    memory: Remembered[D] | None
    etag: str | None


class ScanMemory(Generic[D]):
    """The memory of one kind of scan. Its rows have the columns of `schema`."""

    def __init__(
        self,
        store: S3ObjectStore,
        bucket: str,
        name: str,
        kind: type[D],
        schema: pa.Schema,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._prefix = f"looks/{name}/"
        self._kind = kind
        self._schema = schema
        self._clock = clock

    def read(self) -> StoredMemory[D]:
        """Read the memory; it is whole, or None.

        Raises:
            ObjectStoreError: the store could not be read. That does not mean that the memory is lost.
        """
        etag = None
        for _ in range(_READS):
            before = etag
            try:
                data, etag = self._store.get_with_etag(self._bucket, self._document_key)
            except ObjectNotFound:
                return StoredMemory(None, None)
            try:
                document = self._kind.from_json(data)
                rows = [self._segment(digest) for digest in document.segments]
            except (DocumentError, DamagedMemoryError) as e:
                if etag == before:
                    _log.warning("the memory %s is damaged, so this scan is a full one: %s", self._prefix, e)
                    return StoredMemory(None, etag)
                continue  # read again: another scan may have replaced the document and removed its segments
            return StoredMemory(Remembered(document, pa.concat_tables([self._schema.empty_table(), *rows])), etag)
        return StoredMemory(None, etag)

    def save(self, rows: pa.Table) -> str:
        """Write a segment and return its digest."""
        stream = io.BytesIO()
        pq.write_table(rows.cast(self._schema), stream, compression="zstd")
        data = stream.getvalue()
        digest = sha256_of(data)
        self._store.put(self._bucket, self._segment_key(digest), data, if_absent=True)
        return digest

    def replace(self, document: D, found: StoredMemory[D]) -> bool:
        """Replace the document. Returns False, without a change, if another scan did so since `found` was read."""
        data = document.to_json()
        kept = self._store.put(
            self._bucket,
            self._document_key,
            data,
            if_absent=found.etag is None,
            if_match=found.etag,
            content_type="application/json",
        )
        if not kept:
            _log.info("another scan was first; its memory %s is kept", self._prefix)
        elif found.memory is None or not set(found.memory.document.segments) <= set(document.segments):
            self._sweep(document.segments)
        return kept

    def _sweep(self, used: Collection[str]) -> None:
        """Remove segments that no document names, once no scan can be reading them."""
        keep = {self._document_key, *(self._segment_key(digest) for digest in used)}
        for info in self._store.list(self._bucket, self._prefix):
            if info.key not in keep and self._clock() - info.modified > _UNUSED_FOR:
                self._store.delete(self._bucket, info.key)

    def _segment(self, digest: str) -> pa.Table:
        try:
            data = self._store.get(self._bucket, self._segment_key(digest))
        except ObjectNotFound as e:
            raise DamagedMemoryError(f"the segment {digest} is missing") from e
        if sha256_of(data) != digest:
            raise DamagedMemoryError(f"the segment {digest} has other bytes than its name says")
        table = pq.read_table(pa.BufferReader(data))
        if table.schema.names != self._schema.names:
            raise DamagedMemoryError(f"the segment {digest} has the columns {table.schema.names}")
        return table.cast(self._schema)

    @property
    def _document_key(self) -> str:
        return f"{self._prefix}look.json"

    def _segment_key(self, digest: str) -> str:
        return f"{self._prefix}{digest}.parquet"
