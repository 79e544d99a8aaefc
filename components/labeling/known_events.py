"""The label events of a use case in one run: columns of all of them, whole events only of those that somebody asks for.

A million events as objects are 2 GB and half a minute; as columns they are 0.2 GB and a second or two. A run that works
in passes reads in each pass only what was appended since the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from components.labeling.reopening import Standing
from components.stores.labels.store import SCHEMA, LabelEvent, LabelStatus, LabelStore, Mark
from components.stores.labels.views import COLUMNS, standing_rows

_NAMES: Final = (*COLUMNS, "project")
_SCHEMA: Final = pa.schema([SCHEMA.field(name) for name in _NAMES])
_FEW: Final = 10_000
"""New events of one pass that are read whole at once. Of more, an import, only those that are asked for are."""


class KnownEvents:
    """What a run knows of a use case's events, from `refresh` and `add`. Not safe to share between threads."""

    def __init__(self, labels: LabelStore, use_case: str) -> None:
        self._labels = labels
        self._use_case = use_case
        self._mark: Mark | None = None
        self._rows = _SCHEMA.empty_table()
        self._whole: dict[str, LabelEvent] = {}
        self._standings: pa.Table | None = None

    def refresh(self) -> int:
        """Read what was appended since the last call, or everything at the first one; returns how many rows were read.

        Everything is read, too, after a compaction, because old and new rows then lie in the same files.

        Raises:
            LabelStoreError: the table could not be read.
        """
        found = self._labels.columns(_NAMES, use_case=self._use_case, after=self._mark)
        fresh = int(found.rows.num_rows)
        if self._mark is None or found.whole:
            self._rows, self._standings = found.rows, None
        elif fresh:
            if fresh <= _FEW:
                new = self._labels.events(use_case=self._use_case, version=found.mark.version, after=self._mark)
                self._whole |= {event.event_id: event for event in new}
            self._rows, self._standings = pa.concat_tables([self._rows, found.rows]), None
        self._mark = found.mark
        return fresh

    def add(self, events: Collection[LabelEvent]) -> None:
        """Know these events, which this run has appended."""
        if not events:
            return
        rows = [{**{name: getattr(event, name) for name in _NAMES}, "status": str(event.status)} for event in events]
        self._rows, self._standings = pa.concat_tables([self._rows, pa.Table.from_pylist(rows, schema=_SCHEMA)]), None
        self._whole |= {event.event_id: event for event in events}

    def among(self, event_ids: Iterable[str]) -> frozenset[str]:
        """Those of these ids that are known."""
        return frozenset(self._chosen(pc.field("event_id").isin(_strings(event_ids))))

    def with_ids(self, event_ids: Iterable[str]) -> list[LabelEvent]:
        """Those of these events that are known, by time."""
        return self._events(self.among(event_ids))

    def of_images(
        self, images: Iterable[str], statuses: Collection[LabelStatus], *, project: str | None = None
    ) -> list[LabelEvent]:
        """The events of these images (sha256) and kinds, by time; project: only those made in this one."""
        chosen = pc.field("sha256").isin(_strings(images)) & pc.field("status").isin(_strings(map(str, statuses)))
        if project is not None:
            chosen &= pc.field("project") == project
        return self._events(self._chosen(chosen))

    def to_begin_with(self, images: Iterable[str]) -> dict[str, Standing]:
        """Where those of these images stand whose last event gave them back to labelers: reopened, or rejected."""
        returned = _strings([LabelStatus.REOPENED, LabelStatus.REJECTED])
        wanted = _strings(images)
        return self._stand(lambda: pc.field("sha256").isin(wanted) & pc.field("last_status").isin(returned))

    def starting_with(self, digits: str) -> list[str]:
        """The images (sha256) with events whose sha256 begins with these digits."""
        images = self._rows["sha256"]
        return sorted(pc.unique(images.filter(pc.starts_with(images, pattern=digits))).to_pylist())

    def standing(self, images: Iterable[str]) -> dict[str, Standing]:
        """Where those of these images stand that have events."""
        wanted = _strings(images)
        return self._stand(lambda: pc.field("sha256").isin(wanted))

    def aside(self) -> dict[str, Standing]:
        """Where the images stand that people set aside, and of which nothing was decided since."""
        return self._stand(lambda: pc.field("decided_status") == str(LabelStatus.UNUSABLE))

    def in_doubt(self) -> dict[str, Standing]:
        """Where the images stand that were reopened, or whose imported boxes wait for the verifier."""

        def chosen() -> pc.Expression:
            imported = (pc.field("last_status") == str(LabelStatus.LABELLED)) & pc.field("last_task").is_null()
            approved = pc.coalesce(pc.field("decided_status"), pc.scalar("")) == str(LabelStatus.APPROVED)
            reopened = pc.coalesce(pc.field("decided_status"), pc.scalar("")) == str(LabelStatus.REOPENED)
            return reopened | (imported & ~approved)

        return self._stand(chosen)

    def _stand(self, chosen: Callable[[], pc.Expression]) -> dict[str, Standing]:
        if self._standings is None:
            self._standings = standing_rows(self._rows)
        rows = self._standings.filter(chosen()).select(["sha256", "last", "decided"]).to_pylist()
        wanted = {row[name] for row in rows for name in ("last", "decided") if row[name] is not None}
        whole = {event.event_id: event for event in self._events(wanted)}
        return {
            row["sha256"]: Standing(whole[row["last"]], whole[row["decided"]] if row["decided"] is not None else None)
            for row in rows
        }

    def _chosen(self, chosen: pc.Expression) -> list[str]:
        found: list[str] = (
            self._rows.select(["event_id", "sha256", "status", "project"]).filter(chosen)["event_id"].to_pylist()
        )
        return found

    def _events(self, event_ids: Iterable[str]) -> list[LabelEvent]:
        """These known events, each once, by time; read from the table as it was at the last `refresh`."""
        wanted = set(event_ids)
        missing = wanted - self._whole.keys()
        if missing:
            assert self._mark is not None, "events that were not added come from a reading of the table"
            found = self._labels.events(
                use_case=self._use_case, version=self._mark.version, event_ids=pa.chunked_array([_strings(missing)])
            )
            self._whole |= {event.event_id: event for event in found}
        return sorted((self._whole[event_id] for event_id in wanted), key=lambda event: (event.at, event.event_id))


def _strings(values: Iterable[str]) -> pa.Array:
    return pa.array([str(value) for value in values], pa.string())
