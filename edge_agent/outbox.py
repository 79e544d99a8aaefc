"""What the device promised to deliver: results to the line and images to S3, kept until the other side has them.

Images lie as files beside an SQLite index. A file is on the disk before the row that names it; a row is gone before
its file is. So after a kill at any moment every row has its file, and a file without a row is rubbish that the next
start removes. What does not fit is dropped, lowest class and oldest first, and counted; nothing is dropped silently.

Age is the time that this outbox has been in use, not the difference of two looks at the clock: a clock that jumps by a
year drops nothing, and neither does a device that was switched off.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge_agent.config import OutboxLimits
from edge_agent.disk import Disk, RealDisk
from edge_agent.errors import StateError
from edge_agent.outbox_index import EXPIRED, FIRST_TO_GO, NEXT_IMAGE, OLDEST_RESULTS, Index
from edge_agent.outbox_schema import Outgoing, Priority, connect
from edge_agent.result import Result
from inspection import Capture, sha256_of

_log = logging.getLogger(__name__)

_DAYS_KEPT: Final = 40
_REJECTED: Final = "rejected."


@dataclass(frozen=True, slots=True)
class ImageToSend:
    """An image chosen to go back: its Capture, its bytes, its key in the raw bucket."""

    capture: Capture
    key: str
    data: bytes

    @property
    def priority(self) -> Priority:
        """Its class."""
        return Priority.of(self.capture.reason, self.capture.verdict)


class Outbox:
    """One folder: `outbox.sqlite` and `images/`. Safe to share between threads; no call waits for a network.

    Args:
        clock: seconds of the wall clock, for the counters of a day. monotonic: seconds that never jump, for ages.

    Raises:
        StateError: the folder cannot be used, or the index is damaged or of a newer agent.
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
    ) -> None:
        self._disk = disk or RealDisk()
        self.image_folder: Final = folder / "images"
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        # Held while a row and its file change together: else a file that was just delivered could be removed from
        # under a second Capture of the same image.
        self._files = threading.RLock()
        self.result_waits = threading.Event()
        self.image_waits = threading.Event()
        """Set when something new waits; whoever sends clears it."""
        try:
            self._disk.make_folder(folder)
            self._disk.make_folder(self.image_folder)
            self._index = Index(connect(folder / "outbox.sqlite"), self.image_folder)
            try:
                self._age_before = self._stored_age() - self._monotonic()
                self._remove_rubbish()
            except BaseException:
                self._index.close()
                raise
        except OSError as e:
            raise StateError(f"cannot use the outbox {folder}: {e}") from e

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
    ) -> bool:
        """Keep all that follows from one inspected frame, in one transaction; durable when it returns.

        Args:
            source_key: the camera's name of the frame; recording it twice changes nothing.
            publish: whether there is a line that wants the result.
            counters: what else to count once for this frame.

        Returns:
            False where the frame was recorded before.

        Raises:
            StateError: the disk is full or the index is damaged; nothing was recorded, or the frame is recorded already
                when it comes again.
        """
        if self.is_recorded(source_key):
            return False
        try:
            with self._files:
                self._record(source_key, result, image, publish, counters)
        except OSError as e:
            raise StateError(f"cannot keep the result of {source_key}: {e}; free some disk") from e
        self.result_waits.set()
        self.image_waits.set()
        self._enforce_limits()
        return True

    def _record(
        self, source_key: str, result: Result, image: ImageToSend | None, publish: bool, counters: Sequence[str]
    ) -> None:
        name = self._keep_image(image) if image is not None else None
        with self._index.transaction() as db:
            now = self._age_now()
            db.execute("INSERT OR REPLACE INTO taken VALUES (?, ?)", (source_key, result.capture_id))
            db.execute("INSERT OR REPLACE INTO age VALUES (0, ?)", (now,))
            if publish:
                self._index.insert(Priority.RESULT, now, result.capture_id, result.to_json())
            if image is not None:
                self._insert_image(image, name)
            verdict = result.verdict
            for counter in ("frames", f"verdict.{verdict}", f"day.{_day(self._clock())}.{verdict}", *counters):
                self._index.count(counter)

    def add_image(self, image: ImageToSend) -> None:
        """Keep one more image to send, such as an operator's objection.

        Raises:
            StateError
        """
        try:
            with self._files:
                name = self._keep_image(image)
                with self._index.transaction():
                    self._insert_image(image, name)
        except OSError as e:
            raise StateError(f"cannot keep {image.key}: {e}; free some disk") from e
        self.image_waits.set()
        self._enforce_limits()

    def is_recorded(self, source_key: str) -> bool:
        """Whether a frame was recorded and its camera has not let go of it yet."""
        with self._index.reading() as db:
            row = db.execute("SELECT capture_id FROM taken WHERE source_key = ?", (source_key,)).fetchone()
        return row is not None and not row[0].startswith(_REJECTED)

    def set_aside(self, source_key: str, reason: str) -> None:
        """The camera is about to put an unusable frame away; counted once it has, by `forget`, killed or not."""
        with self._index.transaction() as db:
            db.execute("INSERT OR REPLACE INTO taken VALUES (?, ?)", (source_key, f"{_REJECTED}{reason}"))

    def withdraw(self, source_key: str) -> None:
        """The camera keeps the frame after all."""
        with self._index.transaction() as db:
            db.execute("DELETE FROM taken WHERE source_key = ?", (source_key,))

    def forget(self, source_key: str) -> None:
        """The camera has put the frame away: it cannot come again."""
        with self._index.transaction() as db:
            row = db.execute("DELETE FROM taken WHERE source_key = ? RETURNING capture_id", (source_key,)).fetchone()
            if row is not None and row[0].startswith(_REJECTED):
                self._index.count(row[0])

    def recorded_keys(self) -> tuple[str, ...]:
        """Frames recorded or set aside but not put away yet."""
        with self._index.reading() as db:
            return tuple(key for (key,) in db.execute("SELECT source_key FROM taken"))

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter that outlives the process."""
        with self._index.transaction():
            self._index.count(name, by)

    # -- what the senders read ----------------------------------------------------------------------------------------

    def results(self, limit: int, after: int = 0) -> list[Outgoing]:
        """Results that wait, oldest first, with an id above `after`."""
        return self._index.select(OLDEST_RESULTS, after, limit)

    def next_image(self) -> Outgoing | None:
        """The image to send next: the most important class, in it the oldest."""
        found = self._index.select(NEXT_IMAGE, 0, 1)
        return found[0] if found else None

    def delivered(self, item: Outgoing) -> None:
        """The other side has it for certain."""
        self._delete(item.item_id, counter=None)

    def drop(self, item: Outgoing, why: str) -> None:
        """Give an item up; counted."""
        _log.warning("dropped %s %s: %s", item.priority.name.lower(), item.capture_id, why)
        self._delete(item.item_id, counter=_dropped(item.priority))

    # -- what the page and the report read ----------------------------------------------------------------------------

    def depth(self) -> dict[str, int]:
        """How many items wait in each class, by name."""
        with self._index.reading() as db:
            found = dict(db.execute("SELECT priority, count(*) FROM item GROUP BY priority").fetchall())
        return {priority.name.lower(): int(found.get(int(priority), 0)) for priority in Priority}

    def bytes_used(self) -> int:
        """Bytes of all that waits."""
        return self._index.bytes

    def counters(self) -> dict[str, int]:
        """All counters, by name."""
        with self._index.reading() as db:
            return {name: int(value) for name, value in db.execute("SELECT name, value FROM counter")}

    def dropped(self) -> int:
        """All that was ever given up."""
        return sum(value for name, value in self.counters().items() if name.startswith("dropped."))

    def today(self) -> dict[str, int]:
        """Verdicts of the current day (UTC), by name."""
        prefix = f"day.{_day(self._clock())}."
        return {name.removeprefix(prefix): n for name, n in self.counters().items() if name.startswith(prefix)}

    # -- inside -------------------------------------------------------------------------------------------------------

    def _keep_image(self, image: ImageToSend) -> str | None:
        """The name of its file; None where the disk has no room for it, which is yet to be counted."""
        if not self._fits(image):
            # Never what is worth more than the new one.
            self._drop_until(lambda: self._fits(image), image.priority)
            if not self._fits(image):
                _log.warning("dropped %s: less than %d bytes would stay free", image.key, self._limits.min_free_bytes)
                return None
        name = image.key.rsplit("/", 1)[-1]
        path = self.image_folder / name
        if not path.exists():
            self._disk.write(path, image.data)
        return name

    def _fits(self, image: ImageToSend) -> bool:
        return self._disk.free_bytes(self.image_folder) - len(image.data) >= self._limits.min_free_bytes

    def _insert_image(self, image: ImageToSend, name: str | None) -> None:
        if name is None:
            self._index.count(_dropped(image.priority))
            return
        capture = image.capture
        self._index.insert(
            image.priority, self._age_now(), capture.capture_id, capture.to_json(),
            (capture.sha256, name, image.key, len(image.data)),
        )  # fmt: skip

    def _delete(self, item_id: int, counter: str | None) -> None:
        with self._files:
            with self._index.transaction():
                found, image = self._index.delete(item_id)
                if found and counter is not None:
                    self._index.count(counter)
            if image is None:
                return
            try:
                self._disk.remove(self.image_folder / image)
            except OSError as e:
                _log.error("cannot remove %s, the next start will: %s", self.image_folder / image, e)

    def _enforce_limits(self) -> None:
        oldest = self._age_now() - self._limits.max_age_days * 86400
        while expired := self._index.select(EXPIRED, oldest, 100):
            for item in expired:
                self.drop(item, f"older than {self._limits.max_age_days} days")
        if self.bytes_used() > self._limits.max_bytes:
            self._drop_until(lambda: self.bytes_used() <= self._limits.max_bytes, Priority.RESULT)

    def _drop_until(self, enough: Callable[[], bool], lowest: Priority) -> None:
        while not enough():
            found = self._index.select(FIRST_TO_GO, lowest, 1)
            if not found:
                return
            self.drop(found[0], "the outbox is full")

    def _age_now(self) -> float:
        """Seconds of use; only differences mean anything."""
        return self._age_before + self._monotonic()

    def _stored_age(self) -> float:
        with self._index.reading() as db:
            query = (
                "SELECT max(coalesce((SELECT seconds FROM age), 0), coalesce((SELECT max(created_at) FROM item), 0))"
            )
            # Rows of an earlier agent hold the wall clock, and the count goes on from there.
            return float(db.execute(query).fetchone()[0]) or self._clock()

    def _remove_rubbish(self) -> None:
        with self._index.reading() as db:
            named = {row[0] for row in db.execute("SELECT DISTINCT image_name FROM item WHERE image_name IS NOT NULL")}
        for path in self.image_folder.iterdir():
            if path.name not in named:
                self._disk.remove(path)
        days = sorted({name.split(".")[1] for name in self.counters() if name.startswith("day.")})
        with self._index.transaction() as db:
            # By their number, not by today: a clock that is wrong at this start must not take the others' counts.
            for day in days[:-_DAYS_KEPT]:
                db.execute("DELETE FROM counter WHERE name LIKE ?", (f"day.{day}.%",))


def image_is_intact(item: Outgoing) -> bytes | None:
    """The bytes of a waiting image; None where the file is gone or damaged."""
    try:
        data = item.image_file.read_bytes() if item.image_file else b""
    except OSError:
        return None
    return data if sha256_of(data) == item.image_sha256 else None


def _dropped(priority: Priority) -> str:
    return f"dropped.{priority.name.lower()}"


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
