"""Opens the index of the outbox. A damaged one is set aside; what can be read of it, and the images, begin a new one.

The new index is complete under another name before the damaged one is moved, so that a crash in between begins again
from the same file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from edge_agent.damaged import DamagedFiles
from edge_agent.disk import Disk
from edge_agent.errors import DamagedState
from edge_agent.outbox_schema import SCHEMA_VERSION, Kind, Priority, is_damage
from inspection import Capture, Reason, raw_image_key

_log = logging.getLogger(__name__)

_CHECKED_WHOLE_BYTES: Final = 200_000_000
"""After a stop without warning, an index up to this size is checked whole; a larger one is checked as it is used."""
_TABLES: Final = {"item": "item_id", "taken": "source_key", "counter": "kind, name, day", "age": "id",
                  "answer": "number", "part": "number"}  # fmt: skip
"""The tables of the index, and the columns that order each."""
_READ_FROM: Final = (SCHEMA_VERSION - 1, SCHEMA_VERSION)
"""Versions whose tables have these columns; version 2 has no answers."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose images lie in the outbox: what an image needs to be sent where its Capture is lost."""

    site: str
    device: str


class IndexFile:
    """The file of the index.

    Args:
        connect: opens it, or makes it where there is none.
        owner: None counts images without a readable Capture as dropped, instead of sending them.
    """

    def __init__(
        self,
        path: Path,
        images: Path,
        disk: Disk,
        damaged: DamagedFiles,
        connect: Callable[[Path], sqlite3.Connection],
        owner: Owner | None,
    ) -> None:
        self._path = path
        self._new = path.with_name(f"{path.name}.new")
        self._images = images
        self._disk = disk
        self._damaged = damaged
        self._connect = connect
        self._owner = owner

    def open(self) -> sqlite3.Connection:
        """The index that is there, a new one on a new device, or a new one in the place of a damaged one.

        Raises:
            StateError: a newer agent wrote it, or the disk is full.
            OSError: the disk cannot be written.
        """
        # The folder of images is made after the index: where it is there, an index was there too.
        if self._images.exists():
            if not self._path.exists():
                return self.renew("missing")
            if self._path.stat().st_size == 0:
                return self.renew("empty")
        unclean = _size(_beside(self._path, "-wal")) > 0
        try:
            connection = self._connect(self._path)
        except DamagedState:
            return self.renew("unreadable")
        try:
            connection.execute("SELECT coalesce(sum(bytes), 0) FROM item").fetchone()
            small = _size(self._path) <= _CHECKED_WHOLE_BYTES
            sound = not unclean or not small or connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        except sqlite3.Error as e:
            sound = not is_damage(e)
        if sound:
            return connection
        connection.close()
        return self.renew("corrupt")

    def renew(self, reason: str) -> sqlite3.Connection:
        """Set the index aside and begin a new one. Nobody may hold a connection to it.

        Raises:
            StateError, OSError: the disk is full.
        """
        interrupted = self._new.exists()
        for ending in ("", "-wal", "-shm"):
            self._disk.remove(_beside(self._new, ending))
        source = self._path if self._path.exists() else self._damaged.newest(self._path.name) if interrupted else None
        with closing(self._connect(self._new)) as db:
            db.execute("BEGIN IMMEDIATE")
            read = _salvage(source, db) if source is not None and _size(source) else 0
            # Without an age the count would begin at the time of day, and every item would be too old at once.
            db.execute("INSERT OR IGNORE INTO age VALUES (0, 1.0)")
            adopted, lost = self._adopt(db)
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if self._path.exists():
            self._damaged.move(self._path, reason, with_it=("-wal",))
        self._disk.remove(_beside(self._path, "-wal"))
        self._disk.remove(_beside(self._path, "-shm"))
        self._disk.finish(self._new, self._path)
        _log.error(
            "the outbox index was %s: %d rows were read from it, %d images without a Capture are sent, %d are lost; "
            "results that waited and could not be read are lost too",
            reason, read, adopted, lost,
        )  # fmt: skip
        return self._connect(self._path)

    def _adopt(self, db: sqlite3.Connection) -> tuple[int, int]:
        """Give an item to each image that no row names: (how many, how many images were no whole images)."""
        named = {name for (name,) in db.execute("SELECT image_name FROM item WHERE image_name IS NOT NULL")}
        adopted = lost = 0
        for path in sorted(self._images.iterdir()) if self._images.exists() else []:
            if path.name in named or path.name.startswith("."):
                continue
            capture = self._capture_of(path)
            if capture is None or self._owner is None:
                lost += 1
                continue
            key = raw_image_key(
                self._owner.site, self._owner.device, capture.captured_at, capture.sha256, path.suffix.lstrip(".")
            )
            priority, payload = Priority.of(capture.reason, None), capture.to_json()
            db.execute(
                "INSERT OR IGNORE INTO item "
                "(kind, priority, created_at, capture_id, payload, image_sha256, image_name, image_key, bytes) "
                "VALUES (?, ?, (SELECT max(seconds) FROM age), ?, ?, ?, ?, ?, ?)",
                (str(Kind.IMAGE), int(priority), capture.capture_id, payload, capture.sha256, path.name, key,
                 len(payload) + _size(path)),
            )  # fmt: skip
            adopted += 1
        for kind, name, by in (("adopted", "", adopted), ("dropped", Priority.UNCERTAIN.name.lower(), lost)):
            if by:
                db.execute(
                    "INSERT INTO counter VALUES (?, ?, '', ?) "
                    "ON CONFLICT (kind, name, day) DO UPDATE SET value = value + excluded.value",
                    (kind, name, by),
                )
        return adopted, lost

    def _capture_of(self, path: Path) -> Capture | None:
        """What is still known of an image; None where its bytes are not those that its name says."""
        try:
            data, changed = path.read_bytes(), path.stat().st_mtime
        except OSError:
            return None
        sha256 = hashlib.sha256(data).hexdigest()
        if path.stem != sha256 or self._owner is None:
            return None
        return Capture(
            capture_id=hashlib.sha256(f"{self._owner.device}\nrecovered\n{sha256}".encode()).hexdigest()[:32],
            sha256=sha256,
            device=self._owner.device,
            camera="unknown",
            captured_at=datetime.fromtimestamp(max(0.0, changed), UTC),
            reason=Reason.UNCERTAIN,
        )


def _salvage(source: Path, db: sqlite3.Connection) -> int:
    """Copy the rows that can be read from a damaged index of this version or the one before; how many."""
    read = 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(source, isolation_level=None)) as old:
        if old.execute("PRAGMA user_version").fetchone()[0] not in _READ_FROM:
            return 0
        for table, order in _TABLES.items():
            # An index of an earlier agent lacks what came later.
            there = {name for _, name, *_ in old.execute(f"PRAGMA table_info({table})")}
            columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})") if name in there]
            if not columns:
                continue
            marks = ", ".join("?" * len(columns))
            for row in _readable_rows(old, table, order, columns):
                if table == "item" and not _is_item(dict(zip(columns, row, strict=True))):
                    continue
                with suppress(sqlite3.Error):
                    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
                    read += db.execute(insert, row).rowcount
    return read


def _readable_rows(old: sqlite3.Connection, table: str, order: str, columns: list[str]) -> Iterator[Any]:
    """The rows of a table up to the first damaged page, then those from the other end up to the last one."""
    names = ", ".join(columns)
    for direction in ("ASC", "DESC"):
        by = ", ".join(f"{part} {direction}" for part in order.split(", "))
        try:
            yield from old.execute(f"SELECT {names} FROM {table} ORDER BY {by}")  # noqa: S608 - constants above
            return
        except sqlite3.Error as e:
            _log.warning("the table %s of the damaged outbox ends early: %s", table, e)


def _is_item(row: dict[str, Any]) -> bool:
    """Whether the payload of a row is still a JSON object; a damaged one would not be sent but stay in the way."""
    try:
        return isinstance(json.loads(row["payload"]), dict) and row["priority"] in {int(item) for item in Priority}
    except (ValueError, TypeError, KeyError):
        return False


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
