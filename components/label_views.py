"""The rules of the label store's views, on Arrow columns: a million events are a second's work, and no Python objects.

An event's place in time is (`at`, `event_id`): the clock of the act, and where two acts have the same, the identity.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# What the views below need of an event.
COLUMNS: Final = ("event_id", "sha256", "status", "at")
_DECIDED: Final = pa.array(["approved", "deleted"])


def unique(rows: pa.Table) -> pa.Table:
    """Each event once. rows: with `event_id`; of an event that was written twice, the last row."""
    if pc.count_distinct(rows["event_id"]).as_py() == rows.num_rows:
        return rows
    return rows.take(pa.array(_last_of_each(rows["event_id"], np.arange(rows.num_rows))))


def latest(rows: pa.Table) -> pa.Table:
    """The last event of each image, by time. rows: `COLUMNS`, each event once."""
    order = pc.sort_indices(rows, sort_keys=[("at", "ascending"), ("event_id", "ascending")]).to_numpy()
    place_in_time = np.empty_like(order)
    place_in_time[order] = np.arange(len(order), dtype=order.dtype)
    return rows.take(pa.array(order[_last_of_each(rows["sha256"], place_in_time)]))


def latest_approved(rows: pa.Table) -> pa.Table:
    """The latest approved event of each image that was not deleted since. rows: `COLUMNS`."""
    decided = rows.filter(pc.is_in(rows["status"], value_set=_DECIDED))
    last = latest(unique(decided))
    return last.filter(pc.equal(last["status"], "approved"))


def waiting_for_verifier(rows: pa.Table) -> pa.Table:
    """The images whose last event says `labelled`. rows: `COLUMNS`."""
    last = latest(unique(rows))
    return last.filter(pc.equal(last["status"], "labelled"))


def condensed(rows: pa.Table) -> pa.Table:
    """As few rows that give the same views, also together with rows that come later. rows: `COLUMNS`."""
    once = unique(rows)
    decided = once.filter(pc.is_in(once["status"], value_set=_DECIDED))
    return unique(pa.concat_tables([latest(decided), latest(once)]))


def _last_of_each(values: pa.ChunkedArray, places: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """The highest place of each value, ascending."""
    last = pa.table({"value": values, "place": places}).group_by("value").aggregate([("place", "max")])["place_max"]
    return np.sort(last.to_numpy())
