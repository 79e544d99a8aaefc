"""Labels: an append-only Delta Lake table of events on S3, and the views on it.

Every view deduplicates by `event_id`, so a writer that was killed may append again. The rules of the views are in
`views.py`, compaction and vacuum in `upkeep.py`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

from components.settings import Settings
from components.stores.labels.table_files import files_of
from components.stores.labels.views import COLUMNS, latest_approved, unique
from inspection.codec import canonical_json
from inspection.documents import check_sha256
from inspection.geometry import Box, LabelledBox

_log = logging.getLogger(__name__)

SCHEMA: Final = pa.schema(
    [
        pa.field("schema_version", pa.int32(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("use_case", pa.string(), nullable=False),
        pa.field("image_uri", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field(
            "boxes",
            pa.list_(
                pa.struct(
                    [
                        pa.field("class", pa.string()),
                        pa.field("x", pa.float64()),
                        pa.field("y", pa.float64()),
                        pa.field("width", pa.float64()),
                        pa.field("height", pa.float64()),
                    ]
                )
            ),
            nullable=False,
        ),
        pa.field("status", pa.string(), nullable=False),
        pa.field("annotator", pa.string()),
        pa.field("verifier", pa.string()),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("prelabel_model", pa.string()),
        pa.field("project", pa.string()),
        pa.field("task", pa.string()),
        pa.field("annotation", pa.string()),
    ]
)

# By default Delta deletes its log after 30 days; old versions could not be read then.
_CONFIGURATION: Final[dict[str, str | None]] = {"delta.logRetentionDuration": "interval 36500 days"}
_THREADS: Final = False
"""With these threads, 10 of 100 short processes on a busy machine aborted as they ended; see `table_files`."""
_ATTEMPTS: Final = 10


class LabelStoreError(RuntimeError):
    """The label store could not be read or written."""


class LabelStatus(StrEnum):
    """What an event says about an image."""

    LABELLED = "labelled"
    APPROVED = "approved"
    REJECTED = "rejected"
    DELETED = "deleted"
    REOPENED = "reopened"
    """The image goes back to people, who begin with the boxes of this event. An earlier approval does not hold."""
    UNUSABLE = "unusable"
    """A person set the image aside; `reason` says why."""

    @property
    def decides(self) -> bool:
        """Whether an event of this kind says that the image has an approved label now, or that it has none."""
        return self not in (LabelStatus.LABELLED, LabelStatus.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelEvent:
    """One row. width, height: pixels after EXIF orientation; annotator and verifier: Label Studio user ids."""

    event_id: str
    use_case: str
    image_uri: str
    sha256: str
    width: int
    height: int
    boxes: tuple[LabelledBox, ...]
    status: LabelStatus
    at: datetime
    group: str
    source: str
    annotator: str | None = None
    verifier: str | None = None
    reason: str | None = None
    prelabel_model: str | None = None
    project: str | None = None
    task: str | None = None
    annotation: str | None = None

    def __post_init__(self) -> None:
        check_sha256(self.sha256)
        if self.at.tzinfo is None:
            raise ValueError(f"the time of a label event needs a zone, but got {self.at.isoformat()}")
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"an image has positive sides, but got {self.width} x {self.height}")
        if self.status is LabelStatus.APPROVED and self.verifier is not None and self.verifier == self.annotator:
            raise ValueError(f"the verifier must be another person than the annotator, but both are {self.verifier!r}")


def event_id(source: str, project: str, annotation: str, updated_at: str, status: LabelStatus) -> str:
    """The identity of an event: the same act read twice is one event."""
    return hashlib.sha256("\x1f".join((source, project, annotation, updated_at, status)).encode()).hexdigest()


def boxes_digest(boxes: Iterable[LabelledBox]) -> str:
    """SHA-256 over class and pixels (rounded to 1/100) of the boxes, in any order."""
    # float: 1 and 1.0 are written differently; + 0.0: so are -0.0 and 0.0.
    rows = sorted(
        (b.class_name, *(round(float(v), 2) + 0.0 for v in (b.box.x, b.box.y, b.box.width, b.box.height)))
        for b in boxes
    )
    return hashlib.sha256(canonical_json(rows)).hexdigest()


@dataclass(frozen=True, slots=True)
class Mark:
    """A state of the table: its id, which changes if it is made anew, and its version; -1 if there is no table yet."""

    table_id: str = ""
    version: int = -1


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """Columns at a mark. rows: not deduplicated; whole: whether these are all rows, not only those since a mark."""

    rows: pa.Table
    mark: Mark
    whole: bool


class LabelStore:
    """The table of one installation, for all use cases."""

    def __init__(self, uri: str, storage_options: dict[str, str]) -> None:
        self._uri = uri
        self._options = storage_options

    @classmethod
    def open(cls, settings: Settings) -> LabelStore:
        """The table in the labels bucket, with the identity of this process."""
        options = {"AWS_REGION": settings.s3_region, "aws_conditional_put": "etag"}
        if settings.s3_endpoint:
            options["AWS_ENDPOINT_URL"] = settings.s3_endpoint
            options["AWS_ALLOW_HTTP"] = str(settings.s3_endpoint.startswith("http://")).lower()
        if settings.s3_ca_file:
            options["certificate_path"] = settings.s3_ca_file
        options["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] = str(settings.s3_addressing == "virtual").lower()
        if settings.access_key_id and settings.secret_access_key:
            options["AWS_ACCESS_KEY_ID"] = settings.access_key_id
            options["AWS_SECRET_ACCESS_KEY"] = settings.secret_access_key.get_secret_value()
            if settings.session_token:
                options["AWS_SESSION_TOKEN"] = settings.session_token.get_secret_value()
        return cls(f"s3://{settings.bucket('labels')}/events", options)

    def append(self, events: Sequence[LabelEvent]) -> int:
        """Append the events that are not in the table yet. Returns the table's version afterwards.

        Raises:
            LabelStoreError: the store refused, or other writers committed first each time.
        """
        for attempt in range(_ATTEMPTS):
            table = self.table()
            given = {event.event_id: event for event in events}
            known = self._known(table, given) if table is not None and given else frozenset()
            fresh = {event_id: event for event_id, event in given.items() if event_id not in known}
            if not fresh:
                return -1 if table is None else int(table.version())
            rows = pa.Table.from_pylist([_to_row(event) for event in fresh.values()], schema=SCHEMA)
            try:
                write_deltalake(
                    self._uri if table is None else table,
                    rows,
                    mode="append",
                    storage_options=self._options,
                    configuration=_CONFIGURATION if table is None else None,
                )
            except CommitFailedError:
                _log.info("another writer was first (attempt %d); trying again", attempt + 1)
                continue
            except (DeltaError, OSError) as e:
                raise LabelStoreError(f"cannot append {len(fresh)} label events to {self._uri}: {e}") from e
            return self.version()
        raise LabelStoreError(f"cannot append to {self._uri}: other writers won {_ATTEMPTS} times; run it again")

    def version(self) -> int:
        """The table's version; -1 before the first event."""
        return self.mark().version

    def mark(self, version: int | None = None) -> Mark:
        """The state of the table now, or at a version."""
        return _mark(self.table(version))

    def version_at(self, time: datetime) -> int:
        """The version that the table had at a time, by the clocks of its writers; -1 before the first.

        Raises:
            ValueError: the time has no time zone.
        """
        if time.tzinfo is None:
            raise ValueError(f"expected a time with a zone, but got {time.isoformat()}")
        low, high = -1, self.version()
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._committed_at(middle) <= time else (low, middle - 1)
        return low

    def events(
        self,
        *,
        use_case: str | None = None,
        version: int | None = None,
        sha256: str | None = None,
        images: Collection[str] | None = None,
        event_ids: pa.ChunkedArray | None = None,
        after: Mark | None = None,
    ) -> list[LabelEvent]:
        """All events, each once, by time; of a use case, of images (sha256), or as of a version (`version_at`).

        A million of them are 2 GB. Where few count, give their ids (`event_ids`), or read `columns`. after: see there.
        """
        found = self.columns(
            SCHEMA.names,
            use_case=use_case,
            version=version,
            sha256=sha256,
            images=images,
            event_ids=event_ids,
            after=after,
        )
        rows = unique(found.rows).to_pylist()
        return sorted((_from_row(row) for row in rows), key=lambda event: (event.at, event.event_id))

    def latest_approved(self, use_case: str, *, version: int | None = None) -> dict[str, LabelEvent]:
        """sha256 -> its latest approved event; images that were deleted since are not in it."""
        events = map(_from_row, self.rows(use_case, version=version, approved_only=True).to_pylist())
        return {event.sha256: event for event in events}

    def rows(self, use_case: str, *, version: int | None = None, approved_only: bool = False) -> pa.Table:
        """The rows of a use case as Arrow, in the schema of the table: each event once, by time.

        approved_only: only the latest approved event of each image that was not deleted, reopened or set aside since.
        """
        wanted = None
        if approved_only:
            found = self.columns(COLUMNS, use_case=use_case, version=version)
            wanted, version = latest_approved(found.rows)["event_id"], found.mark.version
            # A second read at the same version, with boxes, but only of the rows that count.
        rows = unique(self.columns(SCHEMA.names, use_case=use_case, version=version, event_ids=wanted).rows)
        return rows.sort_by([("at", "ascending"), ("event_id", "ascending")]).cast(SCHEMA)

    def columns(
        self,
        names: Sequence[str],
        *,
        use_case: str | None = None,
        version: int | None = None,
        event_ids: pa.ChunkedArray | None = None,
        sha256: str | None = None,
        images: Collection[str] | None = None,
        after: Mark | None = None,
    ) -> LabelColumns:
        """Columns of the rows, as Arrow; filters are pushed down to the files.

        after: only the rows of files that the table did not have at that mark. Where it is no earlier state of this
        table, or files have gone since (a compaction), all rows: `LabelColumns.whole` says so.
        """
        table = self.table(version)
        empty = pa.schema([SCHEMA.field(name) for name in names]).empty_table()
        if table is None:
            return LabelColumns(empty, Mark(), whole=True)
        conditions = []
        if use_case is not None:
            conditions.append(pc.field("use_case") == use_case)
        if sha256 is not None:
            conditions.append(pc.field("sha256") == sha256)
        if images is not None:
            conditions.append(pc.field("sha256").isin(pa.array(list(images), pa.string())))
        if event_ids is not None:
            conditions.append(pc.field("event_id").isin(event_ids.combine_chunks()))
        chosen = conditions[0] if conditions else None
        for condition in conditions[1:]:
            chosen &= condition
        known = self._files_at(after, table) if after is not None else None
        try:
            files = table.to_pyarrow_dataset(filesystem=files_of(table, self._uri, self._options))
            if known is not None:
                fresh = [fragment for fragment in files.get_fragments() if fragment.path not in known]
                files = ds.FileSystemDataset(fresh, files.schema, files.format, files.filesystem)
            rows = files.to_table(columns=list(names), filter=chosen, use_threads=_THREADS)
        except FileNotFoundError as e:
            raise LabelStoreError(
                f"version {table.version()} of {self._uri} is no longer whole, files of it were vacuumed away: {e}"
            ) from e
        except (DeltaError, OSError) as e:
            raise LabelStoreError(f"cannot read {self._uri}: {e}") from e
        return LabelColumns(rows, _mark(table), whole=known is None)

    def table(self, version: int | None = None) -> DeltaTable | None:
        """The Delta table, now or as of a version; None before the first event.

        Raises:
            LabelStoreError: it cannot be opened, or there is no such version.
        """
        if version is not None and version < 0:
            return None
        try:
            return DeltaTable(self._uri, version=version, storage_options=self._options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as e:
            raise LabelStoreError(f"cannot open {self._uri}: {e}") from e

    def _known(self, table: DeltaTable, given: Iterable[str]) -> frozenset[str]:
        """Those of these events that the table has: one column, read in pieces."""
        wanted = pa.array(list(given), pa.string())
        known: list[str] = []
        try:
            files = table.to_pyarrow_dataset(filesystem=files_of(table, self._uri, self._options))
            for batch in files.to_batches(columns=["event_id"], use_threads=_THREADS):
                ids = batch.column("event_id")
                known += ids.filter(pc.is_in(ids, value_set=wanted)).to_pylist()
        except (DeltaError, OSError) as e:
            raise LabelStoreError(f"cannot read {self._uri}: {e}") from e
        return frozenset(known)

    def _files_at(self, mark: Mark, now: DeltaTable) -> frozenset[str] | None:
        """The files that a table had at a mark; None where they cannot be told from those that it has now."""
        current = _mark(now)
        if mark.table_id != current.table_id or not 0 <= mark.version <= current.version:
            return None
        before = self.table(mark.version)
        assert before is not None
        files = _files(before)
        return files if files <= _files(now) else None

    def _committed_at(self, version: int) -> datetime:
        # From the log itself: deltalake 1.6 numbers the history of an older version wrongly.
        log = PyFileSystem(DeltaStorageHandler(self._uri, self._options))
        try:
            with log.open_input_stream(f"_delta_log/{version:020d}.json") as stream:
                actions = [json.loads(line) for line in stream.read().splitlines()]
            (commit,) = (action["commitInfo"] for action in actions if "commitInfo" in action)
            return datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
        except (DeltaError, OSError, ValueError, KeyError) as e:
            raise LabelStoreError(f"cannot tell when version {version} of {self._uri} was written: {e}") from e


def _mark(table: DeltaTable | None) -> Mark:
    return Mark() if table is None else Mark(str(table.metadata().id), int(table.version()))


def _files(table: DeltaTable) -> frozenset[str]:
    return frozenset(pa.table(table.get_add_actions())["path"].to_pylist())


def _to_row(event: LabelEvent) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: getattr(event, name) for name in SCHEMA.names if name not in ("schema_version", "boxes", "at", "status")
    }
    boxes = [
        {"class": b.class_name, "x": b.box.x, "y": b.box.y, "width": b.box.width, "height": b.box.height}
        for b in event.boxes
    ]
    return {**row, "schema_version": 1, "status": str(event.status), "boxes": boxes, "at": event.at.astimezone(UTC)}


def _from_row(row: dict[str, Any]) -> LabelEvent:
    boxes = tuple(
        LabelledBox(box["class"], Box(box["x"], box["y"], box["width"], box["height"])) for box in row["boxes"]
    )
    rest = {key: value for key, value in row.items() if key not in ("schema_version", "boxes", "status")}
    return LabelEvent(boxes=boxes, status=LabelStatus(row["status"]), **rest)
