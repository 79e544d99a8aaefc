"""The part that an image shows, corrected after its label was approved: the part that was told last holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore, event_id
from components.stores.labels.views import COLUMNS, latest_approved

_NAMES: Final = (*COLUMNS, "use_case", "group")


def correct_parts(labels: LabelStore, parts: Mapping[str, str]) -> int:
    """Append an event for each approved label whose part is another one now. Returns how many.

    The event is the approved one with the new part, a moment later. Running it again appends nothing.

    Args:
        labels: the label store.
        parts: sha256 of an image -> its part.

    Raises:
        LabelStoreError: the store could not be read or written.
    """
    if not parts:
        return 0
    rows = labels.columns(_NAMES).rows
    rows = rows.filter(pc.is_in(rows["sha256"], value_set=pa.array(list(parts), pa.string())))
    corrected: list[LabelEvent] = []
    for use_case in sorted(pc.unique(rows["use_case"]).to_pylist()):
        approved = latest_approved(rows.filter(pc.equal(rows["use_case"], use_case))).to_pylist()
        if any(row["group"] != parts[row["sha256"]] for row in approved):
            corrected += with_parts(labels.latest_approved(use_case).values(), parts)
    if corrected:
        labels.append(corrected)
    return len(corrected)


def with_parts(approved: Iterable[LabelEvent], parts: Mapping[str, str]) -> list[LabelEvent]:
    """The events that give approved labels their new parts. approved: the events in force; parts: sha256 -> part."""
    return [
        replace(
            event,
            event_id=event_id(event.source, "regrouped", event.event_id, parts[event.sha256], LabelStatus.APPROVED),
            at=event.at + timedelta(microseconds=1),
            group=parts[event.sha256],
        )
        for event in approved
        if event.group != parts.get(event.sha256, event.group)
    ]
