"""The rules of the label store's views, on Arrow columns: a million events take a second, and need no Python objects.

Events are ordered by (`at`, `event_id`): the time of the act, and the id where two acts have the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# The columns that the views below need.
COLUMNS: Final = ("event_id", "sha256", "status", "at", "task")
_DECIDED: Final = pa.array(["approved", "deleted", "reopened", "unusable"])
_APPROVED: Final = pa.array(["approved"])
_LABELLED: Final = pa.array(["labelled"])
_UNUSABLE: Final = pa.array(["unusable"])

Places: TypeAlias = npt.NDArray[np.int64]  # rows of a table


def unique(rows: pa.Table) -> pa.Table:
    """Each event once: of an event that was written twice, the last row. rows: with `event_id`."""
    once = _once(rows)
    return rows if once is None else rows.take(pa.array(np.flatnonzero(once)))


def latest_approved(rows: pa.Table) -> pa.Table:
    """The latest approved event of each image that was not deleted, reopened or set aside since. rows: `COLUMNS`."""
    images, count = _codes(rows["sha256"])
    last = _last_of_each(images, count, _of(rows, _in_time(rows), _DECIDED))
    return rows.take(pa.array(_of(rows, last, _APPROVED)))


@dataclass(frozen=True, slots=True)
class ImagesByLabel:
    """sha256 of the images with an approved label, of those that wait for the verifier, and of those set aside.

    An image waits if its last event is `labelled`. `imported`: the waiting images whose boxes nobody drew in a task;
    the verifier gets them directly, and no labeler does. `unusable`: a person set them aside, and nothing was decided
    since.
    """

    approved: pa.ChunkedArray
    waiting: pa.ChunkedArray
    imported: pa.ChunkedArray
    unusable: pa.ChunkedArray


def images_by_label(rows: pa.Table) -> ImagesByLabel:
    """Find the approved, the waiting and the unusable images. rows: `COLUMNS`."""
    in_time = _in_time(rows)
    images, count = _codes(rows["sha256"])
    decided = _last_of_each(images, count, _of(rows, in_time, _DECIDED))
    waiting = _of(rows, _last_of_each(images, count, in_time), _LABELLED)
    drawn: npt.NDArray[np.bool_] = pc.is_valid(rows["task"]).to_numpy()

    def sha256(places: Places) -> pa.ChunkedArray:
        return rows["sha256"].take(pa.array(places))

    return ImagesByLabel(
        sha256(_of(rows, decided, _APPROVED)),
        sha256(waiting[drawn[waiting]]),
        sha256(waiting[~drawn[waiting]]),
        sha256(_of(rows, decided, _UNUSABLE)),
    )


def standing_rows(rows: pa.Table) -> pa.Table:
    """A row for each image: its latest event, and the latest that decides whether it is approved. rows: `COLUMNS`.

    Columns: `sha256`; `last` and `decided`, event ids; `last_status`, `decided_status`; `last_task`. Those of an image
    that nothing was decided of are null.
    """
    in_time = _in_time(rows)
    images, count = _codes(rows["sha256"])
    last = pa.array(_last_places(images, count, in_time))
    places = _last_places(images, count, _of(rows, in_time, _DECIDED))
    decided = pa.array(places, mask=places < 0)
    return pa.table(
        {
            "sha256": rows["sha256"].take(last),
            "last": rows["event_id"].take(last),
            "last_status": rows["status"].take(last),
            "last_task": rows["task"].take(last),
            "decided": rows["event_id"].take(decided),
            "decided_status": rows["status"].take(decided),
        }
    )


def condensed(rows: pa.Table) -> pa.Table:
    """The fewest rows that give the same views, also together with later rows. rows: `COLUMNS`."""
    in_time = _in_time(rows)
    images, count = _codes(rows["sha256"])
    decided = _last_of_each(images, count, _of(rows, in_time, _DECIDED))
    last = _last_of_each(images, count, in_time)
    return rows.take(pa.array(np.union1d(decided, last)))


def _in_time(rows: pa.Table) -> Places:
    """The places of the events in the table, by time, each event once."""
    by_time = pc.sort_indices(rows, sort_keys=[("at", "ascending"), ("event_id", "ascending")])
    order: Places = by_time.to_numpy().astype(np.int64)
    once = _once(rows)
    if once is not None:
        order = order[once[order]]
    return order


def _of(rows: pa.Table, places: Places, statuses: pa.Array) -> Places:
    """Those of the places that have one of these statuses, in their order."""
    fits: npt.NDArray[np.bool_] = pc.is_in(rows["status"], value_set=statuses).to_numpy()
    return places[fits[places]]


def _last_of_each(images: npt.NDArray[np.int32], count: int, places: Places) -> Places:
    """The last of the places of each image. images: the number of each row's, below `count`."""
    last = _last_places(images, count, places)
    return last[last >= 0]


def _last_places(images: npt.NDArray[np.int32], count: int, places: Places) -> Places:
    """For each image the last of its places, by the image's number; -1 where it has none."""
    last = np.full(count, -1, np.int64)
    last[images[places]] = places  # of an index that is there several times numpy keeps the last
    return last


def _once(rows: pa.Table) -> npt.NDArray[np.bool_] | None:
    """Which rows to keep, so that each event is there once; None: all."""
    events, count = _codes(rows["event_id"])
    if count == rows.num_rows:
        return None
    last = np.empty(count, np.int64)
    last[events] = np.arange(rows.num_rows)
    keep = np.zeros(rows.num_rows, np.bool_)
    keep[last] = True
    return keep


def _codes(values: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], int]:
    """A number for each different value, from 0 on, and how many there are: strings are compared once."""
    encoded = pc.dictionary_encode(values).unify_dictionaries()
    if not len(encoded):
        return np.empty(0, np.int32), 0
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    return codes, len(encoded.chunk(0).dictionary)
