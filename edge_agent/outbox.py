"""Keeps what the device must deliver, results to the line and images to S3, until the other side has it.

Images lie as files beside an SQLite index. A file is on the disk before the row that names it, and a row is removed
before its file. After a kill at any moment every row therefore has its file, and the next start removes a file without
a row. What does not fit is dropped, lowest class first and in it the oldest, and counted.

The age of an item is the time that this outbox has been in use since, not a difference of wall clock times: a clock
that jumps by a year drops nothing, and neither does a device that was switched off.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final

from edge_agent.config import OutboxLimits
from edge_agent.damaged import FOLDER as DAMAGED_FOLDER
from edge_agent.damaged import DamagedFiles
from edge_agent.disk import Disk, RealDisk
from edge_agent.errors import STORAGE, StateError, Unwritable
from edge_agent.outbox_deferred import Deferred, Place, Write, Writer
from edge_agent.outbox_index import EXPIRED, FIRST_IMAGE_TO_GO, NEXT_IMAGE, OLDEST_RESULTS, Index
from edge_agent.outbox_order import RESERVED_SHARE, droppable_bytes, next_to_go, standing
from edge_agent.outbox_parts import PartRule, PartTable, open_parts
from edge_agent.outbox_recovery import IndexFile, Owner
from edge_agent.outbox_schema import PARTS_TOPIC, Kind, Outgoing, Priority, connect
from edge_agent.part_answer import PartResult
from edge_agent.result import Result
from inspection import Capture, DocumentError, sha256_of
from inspection.acceptance import RuleState

_log = logging.getLogger(__name__)

_DAYS_KEPT: Final = 40
ANSWERS_KEPT: Final = 1000
"""How many results of posted images are kept under their idempotency keys; the oldest go first."""


@dataclass(frozen=True, slots=True)
class ImageToSend:
    """An image that goes back to the labelers: its Capture, its bytes, and its key in the raw bucket."""

    capture: Capture
    key: str
    data: bytes

    @property
    def priority(self) -> Priority:
        """The class of the image; see `Priority`."""
        return Priority.of(self.capture.reason, self.capture.verdict)


class Outbox:
    """One folder: `outbox.sqlite` and `images/`. Safe to share between threads; no call waits for a network.

    Where the disk cannot be written, what the loop records is kept in memory, and results go to the line from there.
    It is written as soon as the disk can be written again. Until then a kill loses it: frames of a folder are still
    there and come again, and a result may then arrive twice.

    Args:
        clock: the time of day in seconds since 1970, for the counters of a day.
        monotonic: seconds, by a clock that never jumps, for ages.

        damaged: where a damaged index is set aside; by default beside it.
        zone: in which a day begins at midnight; None for the zone of this machine.
        owner: whose images these are; None counts images whose Capture is lost as dropped.
        parts: which cameras make a part.

    Raises:
        StateError: the folder cannot be used, or the index is of a newer agent.
    """

    def __init__(
        self,
        folder: Path,
        limits: OutboxLimits,
        *,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        connect: Callable[[Path], sqlite3.Connection] = connect,
        damaged: DamagedFiles | None = None,
        owner: Owner | None = None,
        zone: tzinfo | None = UTC,
        parts: Sequence[PartRule] = (),
    ) -> None:
        self._disk = disk or RealDisk()
        self.image_folder: Final = folder / "images"
        self._limits = limits
        self._clock = clock
        self._zone = zone
        self._monotonic = monotonic
        # Held while a row and its file change together: otherwise a file that was just delivered could be removed
        # while a second Capture of the same image is being added.
        self._files = threading.RLock()
        self._deferred = Deferred()
        self._writer = Writer(
            self._deferred, self._files, count=self._count_all, last_id=lambda: self._index.last_item_id(),
            clock=monotonic,
        )  # fmt: skip
        self.result_waits = threading.Event()
        self.image_waits = threading.Event()
        """Both are set when a new item waits; the sender clears its own."""
        self.part_waits = threading.Event()
        """Set when a result may have completed a part."""
        try:
            self._disk.make_folder(folder)
            file = IndexFile(
                folder / "outbox.sqlite", self.image_folder, self._disk,
                damaged or DamagedFiles(folder / DAMAGED_FOLDER, self._disk), connect, owner,
            )  # fmt: skip
            connection = file.open()
            # After the index, so that an index that is missing is told from one that was never made.
            self._disk.make_folder(self.image_folder)
            self._index = Index(connection, self.image_folder, lambda: file.renew("corrupt"))
            try:
                self._age_before = self._stored_age() - self._monotonic()
                with self._index.reading() as db:
                    self._parts = PartTable.of(parts, db)
                self._remove_rubbish()
            except BaseException:
                self._index.close()
                raise
        except OSError as e:
            kind = Unwritable if e.errno in STORAGE else StateError
            raise kind(f"cannot use the outbox {folder}: {e}") from e

    def close(self) -> None:
        """Close the index; the outbox is not used afterwards."""
        self._index.close()

    # -- what the inspection loop writes ------------------------------------------------------------------------------

    def record(
        self,
        source_key: str,
        result: Result,
        image: ImageToSend | None,
        *,
        publish: bool,
        counters: Sequence[str] = (),
        request_key: str | None = None,
    ) -> bool:
        """Keep everything that follows from one inspected frame, in one transaction; durable when it returns.

        Args:
            source_key: the camera's name for the frame; recording it twice changes nothing.
            image: the image to send; None for none.
            publish: whether a broker is configured that the result goes to.
            counters: kinds of counters to count once more for this frame.
            request_key: the sender's name for the request, under which `answer` finds the result later.

        Returns:
            False where the frame was recorded before.

        Raises:
            StateError: the index is damaged, or neither disk nor memory has room. The frame was not recorded, or it was
                and is known when it comes again.
        """
        if self.is_recorded(source_key):
            return False

        message = result.to_json() if publish or request_key is not None else b""

        def apply(place: Place, image: ImageToSend | None) -> None:
            self._record(source_key, result, message, image, publish and place.publish, counters, request_key, place)

        self._writer.write(Write(apply, image, (result.capture_id, message) if publish else None, (source_key, True)))
        self.result_waits.set()
        self.image_waits.set()
        self.part_waits.set()
        self._enforce_limits()
        return True

    def _record(
        self, source_key: str, result: Result, message: bytes, image: ImageToSend | None, publish: bool,
        counters: Sequence[str], request_key: str | None, place: Place,
    ) -> None:  # fmt: skip
        name = self._keep_image(image) if image is not None and image.data else None
        with self._index.transaction() as db:
            now = self._age_now()
            db.execute("INSERT OR REPLACE INTO taken VALUES (?, ?, NULL)", (source_key, result.capture_id))
            db.execute("INSERT OR REPLACE INTO age VALUES (0, ?)", (now,))
            if publish:
                self._index.insert(
                    Kind.RESULT, Priority.RESULT, now, result.capture_id, message, item_id=place.result_id
                )
            if image is not None:
                self._insert_image(image, name, place.image_id)
            if request_key is not None:
                self._index.keep_answer(request_key, message, ANSWERS_KEPT)
            doubted = (("doubted", result.reason, "", 1),) if result.reason else ()
            kinds = [(kind, "", "", 1) for kind in ("frames", *counters)]
            broken = [("rule", item.rule, "", 1) for item in result.rules if item.state is RuleState.BROKEN]
            part = [(kind, name, "", 1) for kind, name in self._parts.add(db, result, now)]
            self._index.count_each([*kinds, *doubted, *self._of_verdict(result), *broken, *part])

    def record_missed(self, result: Result, *, publish: bool) -> None:
        """Keep the result of a trigger that got no verdict, and count it by its reason; durable when it returns.

        Raises:
            StateError: the index is damaged, or neither disk nor memory has room; nothing was recorded.
        """

        message = result.to_json() if publish else b""

        def apply(place: Place, _: ImageToSend | None) -> None:
            with self._index.transaction() as db:
                if publish and place.publish:
                    self._index.insert(
                        Kind.RESULT, Priority.RESULT, self._age_now(), result.capture_id, message,
                        item_id=place.result_id,
                    )  # fmt: skip
                part = [(kind, name, "", 1) for kind, name in self._parts.add(db, result, self._age_now())]
                self._index.count_each(
                    [("not_inspected", result.reason or "", "", 1), *self._of_verdict(result), *part]
                )

        self._writer.write(Write(apply, result=(result.capture_id, message) if publish else None))
        self.result_waits.set()
        self.part_waits.set()
        self._enforce_limits()

    def add_image(self, image: ImageToSend) -> None:
        """Keep one more image to send, such as an operator's objection.

        Raises:
            StateError: the disk is full or the index is damaged.
        """
        try:
            with self._files:
                if not self.catch_up():
                    raise Unwritable(self.problem or "the state folder cannot be written")
                name = self._keep_image(image)
                with self._index.transaction():
                    self._insert_image(image, name)
        except OSError as e:
            raise StateError(f"cannot keep {image.key}: {e}; free some disk") from e
        self.image_waits.set()
        self._enforce_limits()

    def is_recorded(self, source_key: str) -> bool:
        """Whether a frame was recorded and its camera has not put it away yet."""
        if self._deferred:
            with self._files:
                found = self._deferred.is_recorded(source_key)
            if found is not None:
                return found
        with self._index.reading() as db:
            query = "SELECT 1 FROM taken WHERE source_key = ? AND rejected IS NULL"
            return db.execute(query, (source_key,)).fetchone() is not None

    def set_aside(self, source_key: str, reason: str) -> None:
        """Note that the camera is about to set an unusable frame aside. `forget` counts it, once that has happened.

        Args:
            reason: a fixed word, such as `truncated`.
        """

        def apply(*_: object) -> None:
            with self._index.transaction() as db:
                db.execute("INSERT OR REPLACE INTO taken VALUES (?, NULL, ?)", (source_key, reason))

        self._writer.write(Write(apply, taken=(source_key, False)))

    def withdraw(self, source_key: str) -> None:
        """Take `set_aside` back: the camera keeps the frame after all."""

        def apply(*_: object) -> None:
            with self._index.transaction() as db:
                db.execute("DELETE FROM taken WHERE source_key = ?", (source_key,))

        self._writer.write(Write(apply, taken=(source_key, False)))

    def forget(self, source_key: str) -> None:
        """Note that the camera has put the frame away, so that it cannot come again."""

        def apply(*_: object) -> None:
            with self._index.transaction() as db:
                row = db.execute("DELETE FROM taken WHERE source_key = ? RETURNING rejected", (source_key,)).fetchone()
                if row is not None and row[0] is not None:
                    self._index.count("rejected", row[0])

        self._writer.write(Write(apply, taken=(source_key, False)))

    def answer(self, request_key: str) -> Result | None:
        """The result that was recorded under an idempotency key; None where there is none, or it is no longer kept.

        Raises:
            StateError: the index cannot be read, so nobody knows.
        """
        with self._index.reading() as db:
            row = db.execute("SELECT result FROM answer WHERE request_key = ?", (request_key,)).fetchone()
        if row is None:
            return None
        try:
            return Result.from_json(row[0])
        except DocumentError as e:
            raise StateError(f"the answer under the key {request_key!r} is damaged: {e}") from e

    def recorded_keys(self) -> tuple[str, ...]:
        """The source keys of frames that are recorded or being set aside, and not put away yet."""
        with self._index.reading() as db:
            return tuple(key for (key,) in db.execute("SELECT source_key FROM taken"))

    # -- the answers about parts --------------------------------------------------------------------------------------

    def answer_parts(self, device: str, now: datetime, *, publish: bool) -> tuple[PartResult, ...]:
        """Answer the parts that are due, each once; durable when it returns.

        While the disk cannot be written, none is answered: a part must not get a second answer after a kill.

        Args:
            now: UTC.
            publish: whether a broker is configured that the answers go to.

        Raises:
            StateError: the index is damaged.
        """
        answers = []
        # What waits in memory has item ids that were promised, so that no answer may take one.
        with self._files:
            if not self.catch_up():
                return ()
            with self._index.reading() as db:
                if not self._parts.due(db, self._age_now(), limit=1):
                    return ()
            try:
                with self._index.transaction() as db:
                    age = self._age_now()
                    for due in self._parts.due(db, age):
                        answer = due.part.answer(due.end, device, now)
                        message = answer.to_json()
                        self._parts.answered(db, due, message, age)
                        if publish:
                            self._index.insert(
                                Kind.RESULT, Priority.RESULT, age, answer.answer_id, message, topic=PARTS_TOPIC
                            )
                        self._index.count_each([("part", answer.verdict, "", 1), ("part_end", answer.end, "", 1)])
                        answers.append(answer)
            except Unwritable as e:
                self._writer.cannot(e)
                return ()
        if answers:
            self.result_waits.set()
        return tuple(answers)

    def next_part_s(self) -> float | None:
        """Seconds until the next part is due, 0 where one is; None where none waits."""
        with self._index.reading() as db:
            due_at = self._parts.next_due(db)
        return None if due_at is None else max(0.0, due_at - self._age_now())

    def open_parts(self) -> int:
        """How many parts wait for pictures."""
        with self._index.reading() as db:
            return open_parts(db)

    def count(self, kind: str, name: str = "", by: int = 1) -> None:
        """Add to a counter that outlives the process, such as frames skipped at one camera."""
        self._writer.count(kind, name, by)

    # -- where the disk cannot be written ------------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why nothing can be written at present; empty where all is well."""
        return self._writer.problem

    def in_memory(self) -> int:
        """How many writes wait in memory because the disk cannot be written; a kill would lose them."""
        return len(self._deferred)

    def catch_up(self) -> bool:
        """Write what waits in memory, where that is due; whether nothing waits any more."""
        return self._writer.catch_up()

    def _count_all(self, counts: Mapping[tuple[str, str], int]) -> None:
        with self._index.transaction():
            for (kind, name), by in counts.items():
                self._index.count(kind, name, by)

    # -- what the senders read ----------------------------------------------------------------------------------------

    def results(self, limit: int, after: int = 0) -> list[Outgoing]:
        """At most `limit` results that wait, oldest first, with an `item_id` above `after`."""
        if not self._deferred:
            return self._index.select(OLDEST_RESULTS, after, limit)
        self.catch_up()
        with self._files:  # what moves to the disk meanwhile must be seen once
            gone = self._deferred.gone
            waiting = self._index.select(OLDEST_RESULTS, after, limit + len(gone))
            found = [item for item in waiting if item.item_id not in gone][:limit]
            return found + self._deferred.results(after, limit - len(found))

    def images(self, limit: int) -> list[Outgoing]:
        """At most `limit` images that wait, the most important class first, and in it the oldest first."""
        if not self._deferred:
            return self._index.select(NEXT_IMAGE, 0, limit)
        self.catch_up()
        with self._files:
            gone = self._deferred.gone
            found = self._index.select(NEXT_IMAGE, 0, limit + len(gone))
            return [item for item in found if item.item_id not in gone][:limit]

    def next_image(self) -> Outgoing | None:
        """The image to send next: the oldest of the most important class; None where none waits."""
        found = self.images(1)
        return found[0] if found else None

    def delivered(self, item: Outgoing) -> None:
        """Remove an item that the other side has confirmed."""
        self._delete(item.item_id)

    def drop(self, item: Outgoing, why: str) -> None:
        """Remove an item that will not be delivered, and count it."""
        _log.warning("dropped %s %s: %s", item.priority.name.lower(), item.capture_id, why)
        self._delete(item.item_id, dropped=item.priority)

    # -- what the page and the report read ----------------------------------------------------------------------------

    def depth(self) -> dict[str, int]:
        """How many items wait in each class, by name."""
        items = self._index.tally.items
        return {priority.name.lower(): items[priority] for priority in Priority}

    def bytes_used(self) -> int:
        """Bytes of all items that wait, with their images."""
        return self._index.tally.bytes

    def counts(self, kind: str, *, day: str = "") -> dict[str, int]:
        """The counters of one kind, by name: by reason, class, camera or verdict. day: empty for all days."""
        with self._index.reading() as db:
            rows = db.execute("SELECT name, value FROM counter WHERE kind = ? AND day = ?", (kind, day))
            return {name: int(value) for name, value in rows}

    def total(self, kind: str) -> int:
        """The sum over all counters of one kind."""
        return sum(self.counts(kind).values())

    def counters(self) -> dict[str, int]:
        """All counters at once, as `frames`, `dropped.control` or `day.2026-01-31.pass`."""
        with self._index.reading() as db:
            rows = db.execute("SELECT kind, name, day, value FROM counter").fetchall()
        return {
            f"day.{day}.{name}" if day else f"{kind}.{name}" if name else kind: int(value)
            for kind, name, day, value in rows
        }

    def dropped(self) -> int:
        """How many items were ever dropped."""
        return self.total("dropped")

    def today(self) -> dict[str, int]:
        """How many frames of the current day got each verdict."""
        return self.counts("verdict", day=_day(self._clock(), self._zone))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _keep_image(self, image: ImageToSend) -> str | None:
        """Write an image to its file; the file's name, or None where the disk has no room (the caller counts that)."""
        name = image.key.rsplit("/", 1)[-1]
        path = self.image_folder / name
        if path.exists():
            return name
        if not self._can_fit(image):
            # Other data fills the disk, or more important items fill the outbox: to drop what waits would not help.
            _log.warning(
                "dropped %s: there is no room, and dropping less important images would not make it", image.key
            )
            return None
        # Nothing is dropped that is more important than the new image.
        more = len(image.data) if image.priority is Priority.CONTROL else 0
        self._drop_until(lambda: self._fits(image), self._standing(image), more)
        if not self._fits(image):
            _log.warning("dropped %s: less than %d bytes would stay free", image.key, self._limits.min_free_bytes)
            return None
        self._disk.write(path, image.data)
        return name

    def _can_fit(self, image: ImageToSend) -> bool:
        """Whether the image fits where everything went that is no more important than it."""
        droppable = droppable_bytes(self._index.tally.image_bytes, self._reserve(image), self._standing(image))
        free = self._disk.free_bytes(self.image_folder) + droppable - len(image.data)
        waits = self.bytes_used() - droppable + len(image.data)
        return free >= self._limits.min_free_bytes and waits <= self._limits.max_bytes

    def _standing(self, image: ImageToSend) -> float:
        control = self._index.tally.image_bytes[Priority.CONTROL] + len(image.data)
        return standing(image.priority, control, self._reserve(image))

    def _reserve(self, more: ImageToSend | None = None) -> int:
        """Bytes that are reserved for control frames: a share of all images, with one that is about to be added."""
        waiting = sum(self._index.tally.image_bytes.values())
        return int(RESERVED_SHARE * (waiting + (len(more.data) if more is not None else 0)))

    def _fits(self, image: ImageToSend) -> bool:
        return self._disk.free_bytes(self.image_folder) - len(image.data) >= self._limits.min_free_bytes

    def _insert_image(self, image: ImageToSend, name: str | None, item_id: int | None = None) -> None:
        if name is None:
            self._count_dropped(image.priority)
            return
        capture = image.capture
        self._index.insert(
            Kind.IMAGE, image.priority, self._age_now(), capture.capture_id, capture.to_json(),
            (capture.sha256, name, image.key, len(image.data)), item_id,
        )  # fmt: skip

    def _of_verdict(self, result: Result) -> list[tuple[str, str, str, int]]:
        """The counters of a result's verdict, see `Index.count_each`."""
        return [("verdict", result.verdict, day, 1) for day in ("", _day(self._clock(), self._zone))]

    def _count_dropped(self, priority: Priority) -> None:
        self._index.count("dropped", priority.name.lower())

    def _delete(self, item_id: int, dropped: Priority | None = None) -> None:
        with self._files:
            if dropped is None and self._deferred.delivered(item_id):
                return
            self._writer.write(Write(lambda *_: self._delete_on_disk(item_id, dropped), gone=item_id))

    def _delete_on_disk(self, item_id: int, dropped: Priority | None) -> None:
        with self._files:
            with self._index.transaction():
                found, image = self._index.delete(item_id)
                if found and dropped is not None:
                    self._count_dropped(dropped)
            if image is None:
                return
            try:
                self._disk.remove(self.image_folder / image)
            except OSError as e:
                _log.error("cannot remove %s; the next start tries again: %s", self.image_folder / image, e)

    def _enforce_limits(self) -> None:
        if self._deferred:
            return  # nothing can be removed from the disk now
        try:
            self._drop_what_is_over()
        except Unwritable as e:
            self._writer.cannot(e)

    def _drop_what_is_over(self) -> None:
        oldest = self._age_now() - self._limits.max_age_days * 86400
        while expired := self._index.select(EXPIRED, oldest, 100):
            for item in expired:
                self._drop_on_disk(item, f"older than {self._limits.max_age_days} days")
        if self.bytes_used() > self._limits.max_bytes:
            self._drop_until(lambda: self.bytes_used() <= self._limits.max_bytes, Priority.RESULT)

    def _drop_until(self, enough: Callable[[], bool], lowest: float, more_control: int = 0) -> None:
        while not enough():
            going = next_to_go(self._index.tally.image_bytes, self._reserve(), lowest, more_control)
            found = self._index.select(FIRST_IMAGE_TO_GO, going, 1) if going is not None else []
            if not found and lowest == Priority.RESULT:
                found = self._index.select(OLDEST_RESULTS, 0, 1)
            if not found:
                return
            self._drop_on_disk(found[0], "the outbox is full")

    def _drop_on_disk(self, item: Outgoing, why: str) -> None:
        _log.warning("dropped %s %s: %s", item.priority.name.lower(), item.capture_id, why)
        self._delete_on_disk(item.item_id, item.priority)

    def _age_now(self) -> float:
        """Seconds that the outbox has been in use; only differences have a meaning."""
        return self._age_before + self._monotonic()

    def _stored_age(self) -> float:
        with self._index.reading() as db:
            query = (
                "SELECT max(coalesce((SELECT seconds FROM age), 0), coalesce((SELECT max(created_at) FROM item), 0))"
            )
            # Rows of an early agent hold wall clock times; the count goes on from the latest of them.
            return float(db.execute(query).fetchone()[0]) or self._clock()

    def _remove_rubbish(self) -> None:
        with self._index.reading() as db:
            named = {row[0] for row in db.execute("SELECT DISTINCT image_name FROM item WHERE image_name IS NOT NULL")}
        for path in self.image_folder.iterdir():
            if path.name not in named:
                self._disk.remove(path)
        with self._index.transaction() as db:
            # By their number, not by today: a clock that is wrong at this start must not remove the counts of others.
            days = [day for (day,) in db.execute("SELECT DISTINCT day FROM counter WHERE day <> '' ORDER BY day")]
            for day in days[:-_DAYS_KEPT]:
                db.execute("DELETE FROM counter WHERE day = ?", (day,))


def image_is_intact(item: Outgoing) -> bytes | None:
    """The bytes of an image that waits; None where its file is gone or damaged."""
    try:
        data = item.image_file.read_bytes() if item.image_file else b""
    except OSError:
        return None
    return data if sha256_of(data) == item.image_sha256 else None


def _day(now: float, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(now, zone).strftime("%Y-%m-%d")
