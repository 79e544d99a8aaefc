"""What a use case's label events say already: which rows are new, and which of an import's labels are not in force.

The label of an image that is in force is its latest approved event, unless it was deleted, reopened or set aside since.
Importing a file again adds nothing, so a file that another one replaced in the meantime stays replaced. The import says
so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from components.stores.labels.store import LabelEvent, LabelStatus, boxes_digest, event_id

_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class InForce:
    """The event that decides about an image. by_a_person: somebody verified it in Kizu."""

    event_id: str
    at: datetime
    status: LabelStatus
    boxes_digest: str
    source: str
    by_a_person: bool


@dataclass(frozen=True, slots=True)
class NotInForce:
    """A label of the import that does not count, because a later one of the same image says something else."""

    image: str
    line: int | None
    event: LabelEvent
    winner: InForce

    @property
    def message(self) -> str:
        """For people."""
        way = "" if self.winner.by_a_person else "; --supersede puts this one in force"
        who = "a person verified" if self.winner.by_a_person else f"{self.winner.source} said"
        return f"a later label is in force: {who} at {self.winner.at.isoformat(timespec='seconds')}{way}"

    def superseding(self, now: datetime) -> LabelEvent:
        """The same label, as said now and after the one in force. Importing again makes the same event no second time.

        now: with a zone.
        """
        identity = f"{self.event.event_id}:{self.winner.event_id}"
        return replace(
            self.event,
            event_id=event_id(self.event.source, "superseded", identity, "", self.event.status),
            at=max(now, self.winner.at + _TICK),
            reason=f"{self.event.reason}; supersedes {self.winner.event_id[:12]} of {self.winner.source}",
        )


class Before:
    """The events of one use case, and those of this import as they are added."""

    def __init__(self, events: Iterable[LabelEvent]) -> None:
        self._group_of_event: dict[str, str] = {}
        self._group_of_image: dict[str, str] = {}
        self._decided: dict[str, InForce] = {}
        for event in events:
            self._remember(event)

    def new_event(self, event: LabelEvent, *, group_told: bool) -> LabelEvent | None:
        """The event, if it is not in the store. The same labels with another part make a later event.

        group_told: False where the row names no part; it does not remove a known one.
        """
        if not group_told:
            if event.event_id in self._group_of_event:
                return None
            event = replace(event, group=self.group_of(event))
        while (known := self._group_of_event.get(event.event_id)) is not None:
            following = event_id(event.source, "regrouped", event.event_id, "", event.status)
            if known == event.group and following not in self._group_of_event:
                return None
            event = replace(event, event_id=following, at=event.at + _TICK)
        self._remember(event)
        return event

    def group_of(self, event: LabelEvent) -> str:
        """The part of the event's image, as the latest event says it."""
        return self._group_of_image.get(event.sha256, event.group)

    def overruled_by(self, event: LabelEvent) -> InForce | None:
        """The later event that says something else about the image; None where this label is in force.

        A label that is neither approved nor deleted decides nothing, and is never in force.
        """
        winner = self._decided.get(event.sha256)
        if not event.status.decides or winner is None:
            return None
        same_boxes = event.status is LabelStatus.DELETED or winner.boxes_digest == boxes_digest(event.boxes)
        return None if winner.status is event.status and same_boxes else winner

    def _remember(self, event: LabelEvent) -> None:
        self._group_of_event[event.event_id] = event.group
        self._group_of_image[event.sha256] = event.group
        known = self._decided.get(event.sha256)
        if event.status.decides and (known is None or (known.at, known.event_id) < (event.at, event.event_id)):
            self._decided[event.sha256] = InForce(
                event.event_id,
                event.at,
                event.status,
                boxes_digest(event.boxes),
                event.source,
                event.verifier is not None,
            )
