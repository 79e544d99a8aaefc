"""The SQLite index of the outbox: one connection, one transaction at a time, and errors as `StateError`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_agent.errors import StateError, Unwritable
from edge_agent.outbox_schema import RESULTS_TOPIC, Kind, Outgoing, Priority, is_damage, is_unwritable

OLDEST_RESULTS: Final = "kind = 'result' AND item_id > ? ORDER BY priority, item_id LIMIT ?"
NEXT_IMAGE: Final = "kind = 'image' AND item_id > ? ORDER BY priority, item_id LIMIT ?"
FIRST_IMAGE_TO_GO: Final = "kind = 'image' AND priority = ? ORDER BY item_id LIMIT ?"
EXPIRED: Final = "created_at < ? ORDER BY created_at LIMIT ?"
_SPARE_PAGES: Final = 256
"""Free pages that the file keeps for what comes next: 1 MB."""
_PAGES_RETURNED: Final = 64
"""Free pages that are given back to the disk with one item: many more than one item frees, and still a moment."""


@dataclass(slots=True)
class Tally:
    """What waits, added up while it changes: counting the rows takes longer with each of them, and a frame waits."""

    bytes: int = 0
    """Of all items, with their images; an image that several items share counts once."""
    items: dict[Priority, int] = field(default_factory=lambda: dict.fromkeys(Priority, 0))
    image_bytes: dict[Priority, int] = field(default_factory=lambda: dict.fromkeys(Priority, 0))

    def add(self, priority: Priority, size: int, image_bytes: int, items: int = 1) -> None:
        """Add an item; negative numbers take one away."""
        self.bytes += size
        self.items[priority] += items
        self.image_bytes[priority] += image_bytes

    def copy(self) -> Tally:
        """A copy that does not change with this one."""
        return Tally(self.bytes, dict(self.items), dict(self.image_bytes))


class Index:
    """The items that wait, the frames that were taken, and counters. Safe to share between threads.

    Args:
        renew: sets a damaged index aside and opens a new one; called where a damage shows while the index is in use.
    """

    def __init__(
        self, connection: sqlite3.Connection, images: Path, renew: Callable[[], sqlite3.Connection] | None = None
    ) -> None:
        self._db = connection
        self._images = images
        self._renew = renew
        self._lock = threading.Lock()
        self.tally = self._counted()
        """Changed in a transaction only."""

    def _counted(self) -> Tally:
        tally = Tally()
        query = "SELECT priority, sum(bytes), sum(bytes - length(payload)), count(*) FROM item GROUP BY priority"
        for priority, size, image_bytes, items in self._db.execute(query):
            tally.add(Priority(priority), int(size), int(image_bytes), int(items))
        return tally

    def close(self) -> None:
        """Close the connection; the index is not used afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for reading.

        Raises:
            StateError: the index cannot be read.
        """
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as e:
                self._begin_anew_after(e)
                raise StateError(f"the outbox cannot be read: {e}") from e

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for one transaction: all of it is durable when the block ends, or none of it is.

        Raises:
            Unwritable: the disk is full, or cannot be written for another reason.
            StateError: the index is damaged.
        """
        with self._lock:
            before = self.tally.copy()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as e:
                self.tally = before
                with suppress(sqlite3.Error):  # a full disk has already rolled back, a broken one cannot
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                if isinstance(e, sqlite3.Error):
                    self._begin_anew_after(e)
                    kind = Unwritable if is_unwritable(e) else StateError
                    raise kind(f"the outbox cannot be written: {e}; is the disk full?") from e
                raise

    def _begin_anew_after(self, error: sqlite3.Error) -> None:
        """Replace the index where this error says that it is damaged. The caller holds the lock, and tries again later.

        Raises:
            StateError: a new index began; what the caller wanted was not done.
        """
        if self._renew is None or not is_damage(error):
            return
        self._db.close()
        try:
            self._db = self._renew()
        except OSError as e:
            raise StateError(f"the outbox index is damaged ({error}), and no new one can be made: {e}") from e
        self.tally = self._counted()
        raise StateError(f"the outbox index was damaged ({error}); it is set aside, and a new one began") from error

    def select(self, where: str, first: float, limit: int) -> list[Outgoing]:
        """At most `limit` items that one of the constant clauses above selects; `first` is its first parameter."""
        query = f"SELECT item_id, priority, capture_id, payload, image_key, image_name, image_sha256, topic FROM item WHERE {where}"  # noqa: S608, E501
        with self.reading() as db:
            rows = db.execute(query, (first, limit)).fetchall()
        return [
            Outgoing(
                row[0], Priority(row[1]), row[2], row[3], row[4], self._images / row[5] if row[5] else None, *row[6:]
            )
            for row in rows
        ]

    def last_item_id(self) -> int:
        """The highest item id that was ever given."""
        with self.reading() as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'item'").fetchone()
        return int(row[0]) if row is not None else 0

    # -- inside a transaction -----------------------------------------------------------------------------------------

    def insert(
        self,
        kind: Kind,
        priority: Priority,
        created_at: float,
        capture_id: str,
        payload: bytes,
        image: tuple[str, str, str, int] | None = None,
        item_id: int | None = None,
        topic: str = RESULTS_TOPIC,
    ) -> None:
        """Add an item, unless an item of this kind and `capture_id` waits already.

        Args:
            created_at: seconds of use.
            image: sha256, file name, key in the raw bucket, bytes; None for a result.
            item_id: one that was promised; None for the next one.
            topic: where a message to the line goes.
        """
        sha256, name, key, image_bytes = image or (None, None, None, 0)
        if name and self._db.execute("SELECT 1 FROM item WHERE image_name = ? LIMIT 1", (name,)).fetchone():
            image_bytes = 0  # the item that waits already counts the file
        size = len(payload) + image_bytes
        added = self._db.execute(
            "INSERT INTO item "
            "(item_id, kind, priority, created_at, capture_id, payload, image_sha256, image_name, image_key, bytes, "
            "topic) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (item_id, str(kind), int(priority), created_at, capture_id, payload, sha256, name, key, size, topic),
        ).rowcount
        if added:
            self.tally.add(priority, size, image_bytes)

    def delete(self, item_id: int) -> tuple[bool, str | None]:
        """Remove an item, and give some of the file's free pages back to the disk.

        Returns:
            Whether it was there, and the file name of its image where no other item has the same image.
        """
        row = self._db.execute(
            "DELETE FROM item WHERE item_id = ? RETURNING image_name, bytes, bytes - length(payload), priority",
            (item_id,),
        ).fetchone()
        if row is None:
            return False, None
        name: str | None = row[0]
        self.tally.add(Priority(row[3]), -row[1], -row[2], -1)
        shared = self._hand_on_file(name, row[2]) if name else False
        if self._db.execute("PRAGMA freelist_count").fetchone()[0] > _SPARE_PAGES:
            self._db.execute(f"PRAGMA incremental_vacuum({_PAGES_RETURNED})").fetchall()
        return True, None if shared else name

    def _hand_on_file(self, name: str, image_bytes: int) -> bool:
        """Have another item with the same image count its file; False where there is none."""
        row = self._db.execute(
            "SELECT item_id, priority, bytes = length(payload) FROM item WHERE image_name = ? LIMIT 1", (name,)
        ).fetchone()
        if row is None:
            return False
        if image_bytes and row[2]:
            self._db.execute("UPDATE item SET bytes = bytes + ? WHERE item_id = ?", (image_bytes, row[0]))
            self.tally.add(Priority(row[1]), image_bytes, image_bytes, 0)
        return True

    def count(self, kind: str, name: str = "", by: int = 1, *, day: str = "") -> None:
        """Add to a counter."""
        self.count_each(((kind, name, day, by),))

    def count_each(self, counters: Sequence[tuple[str, str, str, int]]) -> None:
        """Add to several counters, in one statement: kind, name, day, and how much."""
        self._db.execute(
            f"INSERT INTO counter VALUES {', '.join(['(?, ?, ?, ?)'] * len(counters))} "  # noqa: S608 - marks only
            "ON CONFLICT (kind, name, day) DO UPDATE SET value = value + excluded.value",
            [value for counter in counters for value in counter],
        )

    def keep_answer(self, request_key: str, result: bytes, most: int) -> None:
        """Keep a result under its idempotency key, and at most `most` of them."""
        added = self._db.execute(
            "INSERT OR REPLACE INTO answer (request_key, result) VALUES (?, ?)", (request_key, result)
        )
        self._db.execute("DELETE FROM answer WHERE number <= ?", ((added.lastrowid or 0) - most,))
