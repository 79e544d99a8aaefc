"""Rows of other tools become raw images and label events. Importing again changes nothing.

The import keeps what a source says about verification, and believes it only if the caller trusts the source:

| The source says | without trust | with trust |
|---|---|---|
| approved | `labelled` | `approved` |
| rejected | `rejected` | `rejected` |
| deleted | `deleted` | `deleted` |
| labelled, nobody verified it | `labelled` | `labelled` |
| nothing (COCO and YOLO know no verification) | `labelled` | `approved` |

An image that lost a box (`box_rule`) is always `labelled`. `verifier` is null, because nobody verified the image in
Kizu. `reason` records what the source said and whether it was trusted. `labelled` rows have no task in Label Studio:
their images are labelled there like all others without an approved row.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from components.exchange.finder import Finder, FoundImage
from components.exchange.rows import RowError, SourceRow, SourceStatus, Unit
from components.stores.labels.box_rule import Converted, Drawn, Tally, apply_rule, number
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore, boxes_digest, event_id
from components.stores.raw_images.image_source import in_parallel, part_of
from components.stores.raw_images.images import RawImages, Stored, capture_id_for
from components.stores.raw_images.set_aside import SetAside, by_reason
from components.use_case import UseCase
from inspection.documents import Capture, Reason
from inspection.image import ImageError, sha256_of

_log = logging.getLogger(__name__)

_EVENTS_AT_ONCE: Final = 5000
_TRUSTED: Final = {
    SourceStatus.APPROVED: LabelStatus.APPROVED,
    SourceStatus.UNSAID: LabelStatus.APPROVED,
    SourceStatus.REJECTED: LabelStatus.REJECTED,
    SourceStatus.DELETED: LabelStatus.DELETED,
    SourceStatus.LABELLED: LabelStatus.LABELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """source: the format, recorded in each row; device, site: under which the images are stored."""

    use_case: UseCase
    source: str
    device: str
    site: str
    trust_status: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportedLabels:
    """The result of an import. rows: those that made an event, by status; new: events that the store lacked.

    boxes: of all rows; tally: boxes changed or left out; withheld: rows that would be approved, but lost a box.
    """

    rows: Mapping[LabelStatus, int]
    new: int
    new_images: int
    boxes: int
    tally: Tally
    withheld: int
    label_version: int
    set_aside: tuple[SetAside, ...]

    @property
    def reasons(self) -> Counter[str]:
        """How many rows were set aside for which reason."""
        return by_reason(self.set_aside)


@dataclass(frozen=True, slots=True)
class _Made:
    row: SourceRow
    event: LabelEvent
    tally: Tally
    new_image: bool
    withheld: bool
    group_told: bool


def import_rows(
    rows: Iterable[SourceRow | SetAside],
    finder: Finder,
    raw: RawImages,
    labels: LabelStore,
    options: ImportOptions,
    on_row: Callable[[], None] = lambda: None,
) -> ImportedLabels:
    """Put the images of the rows into the raw bucket and their events into the label store.

    Raises:
        ObjectStoreError, LabelStoreError: a store does not answer. What was imported so far stays; run it again.
    """

    def one(item: SourceRow | SetAside) -> _Made | SetAside:
        try:
            return item if isinstance(item, SetAside) else _made(item, finder, raw, options)
        except RowError as e:
            assert isinstance(item, SourceRow)
            return SetAside(item.image, e.reason, str(e), item.line)
        finally:
            on_row()

    before = _Before(labels.events(use_case=options.use_case.name))
    statuses: Counter[LabelStatus] = Counter()
    aside: list[SetAside] = []
    tally = Tally()
    new = new_images = boxes = withheld = 0
    waiting: list[LabelEvent] = []
    for item in _without_contradictions(in_parallel(one, rows)):
        if isinstance(item, SetAside):
            _log.warning("set aside line %s, %s: %s", item.line, item.image, item.message)
            aside.append(item)
            continue
        statuses[item.event.status] += 1
        tally += item.tally
        boxes += len(item.event.boxes)
        withheld += item.withheld
        new_images += item.new_image
        event = before.new_event(item)
        if event is not None:
            new += 1
            waiting.append(event)
        if len(waiting) >= _EVENTS_AT_ONCE:
            labels.append(waiting)
            waiting = []
    version = labels.append(waiting) if waiting else labels.version()
    return ImportedLabels(statuses, new, new_images, boxes, tally, withheld, version, tuple(aside))


class _Before:
    """The events of this use case, to find out which rows are new, and which differ only in the part."""

    def __init__(self, events: Iterable[LabelEvent]) -> None:
        self._group_of_event: dict[str, str] = {}
        self._group_of_image: dict[str, str] = {}
        for event in events:
            self._remember(event)

    def new_event(self, made: _Made) -> LabelEvent | None:
        """The event, if it is not in the store. The same labels with another part make a later event."""
        event = made.event
        if not made.group_told:  # a row that names no part does not remove a known one
            if event.event_id in self._group_of_event:
                return None
            event = replace(event, group=self._group_of_image.get(event.sha256, event.group))
        while (known := self._group_of_event.get(event.event_id)) is not None:
            following = event_id(event.source, "regrouped", event.event_id, "", event.status)
            if known == event.group and following not in self._group_of_event:
                return None
            event = replace(event, event_id=following, at=event.at + timedelta(microseconds=1))
        self._remember(event)
        return event

    def _remember(self, event: LabelEvent) -> None:
        self._group_of_event[event.event_id] = event.group
        self._group_of_image[event.sha256] = event.group


def _without_contradictions(items: Iterable[_Made | SetAside]) -> Iterator[_Made | SetAside]:
    """Set aside the second of two rows that contradict each other: the same image and time, other boxes or status."""
    seen: dict[tuple[str, object], tuple[str, int | None]] = {}
    for item in items:
        if isinstance(item, SetAside):
            yield item
            continue
        event = item.event
        says = f"{boxes_digest(event.boxes)}:{event.status}"
        first, line = seen.setdefault((event.sha256, item.row.at), (says, item.row.line))
        if first == says:
            yield item
        else:
            where = f"line {line}" if line else "an earlier row"
            message = f"it contradicts {where}: the same image at the same time with other boxes or another status"
            yield SetAside(item.row.image, "contradiction", message, item.row.line)


def _made(row: SourceRow, finder: Finder, raw: RawImages, options: ImportOptions) -> _Made:
    found = finder.find(row.image)
    stored, group = _put(row, found, raw, options)
    if (row.width or stored.width, row.height or stored.height) != (stored.width, stored.height):
        raise RowError(
            "size",
            f"expected an image of {row.width} x {row.height} pixels, as the row says, "
            f"but {found.name} has {stored.width} x {stored.height}; is it another image, or turned by its EXIF?",
        )
    converted = _converted(row, options, stored)
    status = _TRUSTED[row.status]
    withheld = status is LabelStatus.APPROVED and options.trust_status and converted.tally.left_out > 0
    if status is LabelStatus.APPROVED and (withheld or not options.trust_status):
        status = LabelStatus.LABELLED
    # Without a time in the source, the time is the file's date. A copy of the file must not make another event.
    when = row.at.isoformat() if row.at is not None and row.at_said else ""
    event = LabelEvent(
        event_id=event_id(
            options.source,
            f"{options.use_case.name}:{row.job}",
            f"{stored.sha256}:{boxes_digest(converted.boxes)}",
            when,
            status,
        ),
        use_case=options.use_case.name,
        image_uri=stored.uri,
        sha256=stored.sha256,
        width=stored.width,
        height=stored.height,
        boxes=converted.boxes,
        status=status,
        at=row.at or found.modified,
        group=group or stored.sha256,
        source=options.source,
        reason=_reason(row, options, converted.tally),
        annotation=row.job or None,
    )
    return _Made(row, event, converted.tally, stored.new, withheld, group is not None)


def _put(row: SourceRow, found: FoundImage, raw: RawImages, options: ImportOptions) -> tuple[Stored, str | None]:
    sha256 = sha256_of(found.data)
    part = row.group or part_of(found.name, options.parts)
    reason = Reason.IMPORT
    capture = Capture(
        capture_id=capture_id_for(sha256, f"{reason}|{part}" if part else reason, found.modified),
        sha256=sha256,
        device=options.device,
        camera="import",
        captured_at=found.modified,
        reason=reason,
        part_id=part,
        original_name=found.name,
    )
    try:
        return raw.put(found.data, capture, site=options.site), part
    except ImageError as e:
        raise RowError(e.reason, str(e)) from e


def _converted(row: SourceRow, options: ImportOptions, stored: Stored) -> Converted:
    boxes = row.boxes
    if row.unit is Unit.SHARES:
        boxes = tuple(_in_pixels(box, stored.width, stored.height) for box in boxes)
    return apply_rule(boxes, options.use_case.classes, stored.width, stored.height)


def _in_pixels(drawn: Drawn, width: int, height: int) -> Drawn:
    """Convert YOLO's boxes (centre, as shares of the image) to pixels from the corner."""
    x, y, w, h = (number(value) for value in (drawn.x, drawn.y, drawn.width, drawn.height))
    if x is None or y is None or w is None or h is None:
        return replace(drawn, x=None)
    return replace(drawn, x=(x - w / 2) * width, y=(y - h / 2) * height, width=w * width, height=h * height)


def _reason(row: SourceRow, options: ImportOptions, tally: Tally) -> str:
    said = f"the source said {row.said!r}" if row.said else "the source said nothing of a verification"
    trust = "status trusted" if options.trust_status else "status not trusted"
    lost = f"; boxes left out: {tally.left_out}" if tally.left_out else ""
    return f"imported; {said}; {trust}{lost}"
