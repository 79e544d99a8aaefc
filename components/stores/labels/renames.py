"""A class under another name: later events give the labels in force the new name. No event is changed.

The event of a renamed label is the former one with the new name, a moment later. Its id follows from the former event
and the names, so whoever makes it, and however often, makes the same event. `reason` says which event it came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore, Mark, event_id
from components.stores.labels.views import COLUMNS, standing_rows, unique
from inspection.geometry import LabelledBox

_BATCH: Final = 2000
_NOTE: Final = "renamed: "
_NAMES: Final = (*COLUMNS, "boxes", "reason")


@dataclass(frozen=True, slots=True)
class Renaming:
    """What a renaming of a class would do.

    events: ids of the events in force with boxes of the old class. images, boxes: how many. by_status: how many events.
    merges: images in force with boxes of the new class that no renaming of this class made. begun: whether an earlier
    run has renamed labels already. classes: all classes of boxes in force.
    """

    old: str
    new: str
    events: tuple[str, ...]
    images: int
    boxes: int
    by_status: Mapping[LabelStatus, int]
    merges: int
    begun: bool
    classes: tuple[str, ...]
    mark: Mark


def rename_boxes(boxes: Iterable[LabelledBox], names: Mapping[str, str]) -> tuple[LabelledBox, ...]:
    """The boxes with the new names; one that then has the class and place of another is left out. names: old -> new."""
    found: dict[tuple[object, ...], LabelledBox] = {}
    for labelled in boxes:
        named = LabelledBox(names.get(labelled.class_name, labelled.class_name), labelled.box)
        place = (round(value, 2) for value in (named.box.x, named.box.y, named.box.width, named.box.height))
        found.setdefault((named.class_name, *place), named)
    return tuple(found.values())


def renamed(event: LabelEvent, names: Mapping[str, str]) -> LabelEvent:
    """The event with the new names. It is the event itself if no box has one of the old ones. names: old -> new."""
    used = sorted({box.class_name for box in event.boxes} & names.keys())
    if not used:
        return event
    pairs = "\x1e".join(f"{old}\x1f{names[old]}" for old in used)
    note = _NOTE + ", ".join(_pair(old, names[old]) for old in used) + f", from event {event.event_id}"
    return replace(
        event,
        event_id=event_id(event.source, "renamed", event.event_id, pairs, event.status),
        boxes=rename_boxes(event.boxes, names),
        at=event.at + timedelta(microseconds=1),
        reason=f"{event.reason}; {note}" if event.reason else note,
    )


def reason_for_people(reason: str | None) -> str | None:
    """The reason of an event without what renamings added to it."""
    if reason is None:
        return None
    return reason.partition(_NOTE)[0].removesuffix("; ") or None


def plan_renaming(labels: LabelStore, use_case: str, old: str, new: str) -> Renaming:
    """Find what is in force of a class: labels that are approved, that wait for people, or that people begin with.

    Raises:
        LabelStoreError: the table could not be read.
    """
    found = labels.columns(_NAMES, use_case=use_case)
    rows = unique(found.rows).combine_chunks()
    note = pc.match_substring(pc.fill_null(rows["reason"], ""), _NOTE + _pair(old, new))
    standing = standing_rows(rows.select(COLUMNS))
    current = pc.is_in(rows["event_id"], value_set=standing["last"].combine_chunks())
    deciding = standing.filter(
        pc.is_in(standing["decided_status"], value_set=pa.array([LabelStatus.APPROVED, LabelStatus.REOPENED]))
    )["decided"]
    current = pc.or_(current, pc.is_in(rows["event_id"], value_set=deciding.combine_chunks()))
    # what was deleted or set aside has no boxes that somebody could use
    current = pc.and_(
        current, pc.invert(pc.is_in(rows["status"], value_set=pa.array([LabelStatus.DELETED, LabelStatus.UNUSABLE])))
    )
    rows = rows.append_column("note", note).filter(current).combine_chunks()
    names, owners = _classes(rows)
    having = np.unique(owners[names == old])
    taken = np.unique(owners[names == new])
    made = rows["note"].to_numpy(zero_copy_only=False).astype(bool)
    chosen = rows.take(pa.array(having))
    statuses = Counter(LabelStatus(status) for status in chosen["status"].to_pylist())
    return Renaming(
        old=old,
        new=new,
        events=tuple(sorted(chosen["event_id"].to_pylist())),
        images=len(pc.unique(chosen["sha256"])),
        boxes=int((names == old).sum()),
        by_status=statuses,
        merges=len(pc.unique(rows.take(pa.array(taken[~made[taken]]))["sha256"])),
        begun=bool(pc.any(note).as_py()),
        classes=tuple(sorted(set(names.tolist()))),
        mark=found.mark,
    )


def rename(labels: LabelStore, use_case: str, plan: Renaming) -> Iterator[int]:
    """Append the events of a plan, in batches. Yields how many each batch had.

    Whoever is killed between two batches plans and renames again: what is done is not in force under the old name.

    Raises:
        LabelStoreError: the store could not be read or written.
    """
    for start in range(0, len(plan.events), _BATCH):
        wanted = pa.chunked_array([pa.array(plan.events[start : start + _BATCH], pa.string())])
        events = labels.events(use_case=use_case, version=plan.mark.version, event_ids=wanted)
        labels.append([renamed(event, {plan.old: plan.new}) for event in events])
        yield len(events)


def _pair(old: str, new: str) -> str:
    return f"{old!r} is {new!r}"


def _classes(rows: pa.Table) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
    """The class of each box, and the row that it is in. rows: with `boxes`, in one chunk."""
    if not rows.num_rows:
        return np.empty(0, object), np.empty(0, np.int64)
    boxes = rows["boxes"].combine_chunks()
    if isinstance(boxes, pa.ChunkedArray):
        boxes = pa.concat_arrays(boxes.chunks)
    names = pc.struct_field(pc.list_flatten(boxes), "class")
    owners = pc.list_parent_indices(boxes)
    return names.to_numpy(zero_copy_only=False), owners.to_numpy(zero_copy_only=False).astype(np.int64)
