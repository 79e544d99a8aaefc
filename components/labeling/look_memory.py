"""What a look remembers for the next one, in `kizu-state/looks/<name>/`.

A small document names segments: Parquet files named by their digest, written once, before the document that names
them. The document alone is replaced, on the condition that nobody did so meanwhile; of two looks at once the first is
kept, and both have seen what they say. A memory that is lost or damaged is no memory: the next look is a full one.
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
_UNUSED_FOR: Final = timedelta(days=1)  # a look that still reads or has just written a segment takes minutes
_READS: Final = 3


class DamagedMemoryError(ValueError):
    """A segment that is missing or has other bytes than its name says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookDocument(Document):
    """looked_at: when the last look began; full_at: when the last full one did; segments: digests, oldest first."""

    looked_at: datetime
    full_at: datetime
    segments: tuple[str, ...]

    def full_is_due(self, now: datetime) -> bool:
        """A full look is due every week, and where the clock went back: times of the memory mean nothing then."""
        return now - self.full_at >= FULL_EVERY or now < self.looked_at - timedelta(days=1)


D = TypeVar("D", bound=LookDocument)


@dataclass(frozen=True, slots=True)
class Remembered(Generic[D]):
    """A whole memory: the document and the rows of its segments."""

    document: D
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Found(Generic[D]):
    """What was there. etag: of the document, usable or not."""

    memory: Remembered[D] | None
    etag: str | None


class LookMemory(Generic[D]):
    """The memory of one look. Its rows have the columns of `schema`."""

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

    def read(self) -> Found[D]:
        """The memory, whole, or none.

        Raises:
            ObjectStoreError: the store could not be read; that is no lost memory.
        """
        etag = None
        for _ in range(_READS):
            before = etag
            try:
                data, etag = self._store.get_with_etag(self._bucket, self._document_key)
            except ObjectNotFound:
                return Found(None, None)
            try:
                document = self._kind.from_json(data)
                rows = [self._segment(digest) for digest in document.segments]
            except (DocumentError, DamagedMemoryError) as e:
                if etag == before:
                    _log.warning("the memory %s is damaged, so this look is a full one: %s", self._prefix, e)
                    return Found(None, etag)
                continue  # once more: another look may have replaced the document and removed its segments
            return Found(Remembered(document, pa.concat_tables([self._schema.empty_table(), *rows])), etag)
        return Found(None, etag)

    def save(self, rows: pa.Table) -> str:
        """Write a segment; its digest."""
        stream = io.BytesIO()
        pq.write_table(rows.cast(self._schema), stream, compression="zstd")
        data = stream.getvalue()
        digest = sha256_of(data)
        self._store.put(self._bucket, self._segment_key(digest), data, if_absent=True)
        return digest

    def replace(self, document: D, found: Found[D]) -> bool:
        """Name the segments of the next look; False where another look did so since `found` was read."""
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
            _log.info("another look was first; its memory %s is kept", self._prefix)
        elif found.memory is None or not set(found.memory.document.segments) <= set(document.segments):
            self._sweep(document.segments)
        return kept

    def _sweep(self, used: Collection[str]) -> None:
        """Remove segments that no document names, once nobody can be reading them."""
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
