"""Rows of other tools become raw images and label events. Importing again changes nothing.

The import keeps what a source says about verification, and believes it only if the caller trusts the source:

| The source says | without trust | with trust |
|---|---|---|
| approved | `labelled` | `approved` |
| rejected | `rejected` | `rejected` |
| deleted | `deleted` | `deleted` |
| labelled, nobody verified it | `labelled` | `labelled` |
| nothing (most formats know no verification) | `labelled` | `approved` |

An image that lost a box (`box_rule`) is always `labelled`. `verifier` is null, because nobody verified the image in
Kizu. `reason` records what the source said and whether it was trusted. The boxes of `labelled` rows go to the verifier
(`components/labeling/reopening.py`), and no labeler draws them again. A row whose date lies after now is set aside,
because it would win over every later label.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from components.exchange.before import Before, NotInForce
from components.exchange.finder import Finder, FoundImage
from components.exchange.rows import RowError, SourceRow, SourceStatus, Unit, check_not_after
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
    """source: the format, recorded in each row; device, site: under which the images are stored.

    supersede: labels of this import that an earlier import's later label overrules come into force, as said now. What a
    person verified in Kizu stays.
    """

    use_case: UseCase
    source: str
    device: str
    site: str
    trust_status: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)
    supersede: bool = False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ImportedLabels:
    """The result of an import. rows: those that made an event, by status; new: events that the store lacked.

    boxes: of all rows; tally: boxes changed or left out; withheld: rows that would be approved, but lost a box.
    not_in_force: labels that do not count, because a later one of the image says something else; superseded: those that
    were put in force.
    """

    rows: Mapping[LabelStatus, int]
    new: int
    new_images: int
    boxes: int
    tally: Tally
    withheld: int
    label_version: int
    set_aside: tuple[SetAside, ...]
    not_in_force: tuple[NotInForce, ...] = ()
    superseded: int = 0

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

    known = list(rows)  # which file a row means may depend on all rows
    finder = finder.of_rows([row.image for row in known if isinstance(row, SourceRow)])
    now = options.clock()

    def one(item: SourceRow | SetAside) -> _Made | SetAside:
        try:
            return item if isinstance(item, SetAside) else _made(item, finder, raw, options, now)
        except RowError as e:
            assert isinstance(item, SourceRow)
            return SetAside(item.image, e.reason, str(e), item.line)
        finally:
            on_row()

    read = list(in_parallel(one, known))
    # An event's id contains its image, so events of other images say nothing of these rows.
    about = {item.event.sha256 for item in read if isinstance(item, _Made)}
    before = Before(labels.events(use_case=options.use_case.name, images=about))
    statuses: Counter[LabelStatus] = Counter()
    aside: list[SetAside] = []
    latest: dict[str, _Made] = {}
    tally = Tally()
    new = new_images = boxes = withheld = 0
    waiting: list[LabelEvent] = []
    for item in _without_contradictions(read):
        if isinstance(item, SetAside):
            _log.warning("set aside line %s, %s: %s", item.line, item.image, item.message)
            aside.append(item)
            continue
        statuses[item.event.status] += 1
        tally += item.tally
        boxes += len(item.event.boxes)
        withheld += item.withheld
        new_images += item.new_image
        former = latest.setdefault(item.event.sha256, item)
        if former.event.at <= item.event.at:
            latest[item.event.sha256] = item
        event = before.new_event(item.event, group_told=item.group_told)
        if event is not None:
            new += 1
            waiting.append(event)
        if len(waiting) >= _EVENTS_AT_ONCE:
            labels.append(waiting)
            waiting = []
    overruled = _overruled(latest.values(), before)
    superseding = [one.superseding(now) for one in overruled if options.supersede and not one.winner.by_a_person]
    waiting += superseding
    version = labels.append(waiting) if waiting else labels.version()
    return ImportedLabels(
        statuses,
        new + len(superseding),
        new_images,
        boxes,
        tally,
        withheld,
        version,
        tuple(aside),
        tuple(one for one in overruled if one.winner.by_a_person or not options.supersede),
        len(superseding),
    )


def _overruled(made: Iterable[_Made], before: Before) -> list[NotInForce]:
    """The labels of the import that are not in force. made: the latest row of each image."""
    found = []
    for item in made:
        winner = before.overruled_by(item.event)
        if winner is not None:
            event = item.event if item.group_told else replace(item.event, group=before.group_of(item.event))
            found.append(NotInForce(item.row.image, item.row.line, event, winner))
    return found


def _without_contradictions(items: Sequence[_Made | SetAside]) -> Iterator[_Made | SetAside]:
    """Set aside rows that contradict each other.

    Of one name at one time with other boxes or another status, the second is set aside. Where files of two names have
    the same bytes, nobody can say whose labels are meant: all such rows with different labels are set aside.
    """
    seen: dict[tuple[str, object], tuple[str, int | None]] = {}
    names: dict[str, dict[str, set[str]]] = {}
    for item in items:
        if isinstance(item, _Made):
            names.setdefault(item.event.sha256, {}).setdefault(item.row.image, set()).add(_says(item.event))
    torn = {sha256 for sha256, by_name in names.items() if len({frozenset(says) for says in by_name.values()}) > 1}
    for item in items:
        if isinstance(item, SetAside):
            yield item
            continue
        event = item.event
        if event.sha256 in torn:
            others = ", ".join(sorted(names[event.sha256])[:5])
            message = f"the rows {others} have other boxes or another status, but their images have the same bytes"
            yield SetAside(item.row.image, "contradiction", message, item.row.line)
            continue
        first, line = seen.setdefault((event.sha256, item.row.at), (_says(event), item.row.line))
        if first == _says(event):
            yield item
        else:
            where = f"line {line}" if line else "an earlier row"
            message = f"it contradicts {where}: the same image at the same time with other boxes or another status"
            yield SetAside(item.row.image, "contradiction", message, item.row.line)


def _says(event: LabelEvent) -> str:
    return f"{boxes_digest(event.boxes)}:{event.status}"


def _made(row: SourceRow, finder: Finder, raw: RawImages, options: ImportOptions, now: datetime) -> _Made:
    found = finder.find(row.image)
    at = check_not_after(
        row.at or found.modified, "its date" if row.at_said and row.at else "the date of the file", now
    )
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
        at=at,
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
