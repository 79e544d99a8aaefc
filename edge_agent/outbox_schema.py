"""Tables of the outbox and the order in which its contents may be dropped."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from edge_agent.errors import StateError
from inspection import Reason, Verdict


class Priority(IntEnum):
    """What may be dropped first: the highest number, and in it the oldest."""

    RESULT = 0
    OBJECTION = 1
    DEFECT = 2
    UNCERTAIN = 3
    CONTROL = 4

    @classmethod
    def of(cls, reason: Reason, verdict: Verdict | None) -> Priority:
        """The class of an image that waits to be sent."""
        if reason is Reason.OBJECTION:
            return cls.OBJECTION
        if verdict is Verdict.FAIL:
            return cls.DEFECT
        if reason in (Reason.UNCERTAIN, Reason.DISAGREEMENT):
            return cls.UNCERTAIN
        return cls.CONTROL


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An item as it waits. payload: the Capture or the Result, JSON. image_*: None for a result."""

    item_id: int
    priority: Priority
    capture_id: str
    payload: bytes
    image_key: str | None
    image_file: Path | None
    image_sha256: str | None


SCHEMA_VERSION: Final = 1

_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS item (
    item_id INTEGER PRIMARY KEY AUTOINCREMENT,
    priority INTEGER NOT NULL,
    created_at REAL NOT NULL,  -- seconds of use, see age
    capture_id TEXT NOT NULL,
    payload BLOB NOT NULL,
    image_sha256 TEXT,
    image_name TEXT,
    image_key TEXT,
    bytes INTEGER NOT NULL
)""",
    "CREATE UNIQUE INDEX IF NOT EXISTS item_once ON item (priority = 0, capture_id)",
    "CREATE INDEX IF NOT EXISTS item_by_priority ON item (priority, item_id)",
    "CREATE INDEX IF NOT EXISTS item_by_age ON item (created_at)",
    "CREATE INDEX IF NOT EXISTS item_by_image ON item (image_name)",
    # capture_id: of the recorded frame, or `rejected.<reason>` of one that the camera is setting aside.
    "CREATE TABLE IF NOT EXISTS taken (source_key TEXT PRIMARY KEY, capture_id TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS age (id INTEGER PRIMARY KEY CHECK (id = 0), seconds REAL NOT NULL)",
)


def connect(path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """Open or make the index. Killed at any statement, the next start goes on.

    Raises:
        StateError: not a database, or one of a newer agent.
    """
    connection = None
    try:
        # Autocommit: transactions are written out where they begin and end. One connection, guarded by a lock.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30, factory=factory)
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: a commit is on the disk when it returns. NORMAL would lose the last results in a power cut.
        connection.execute("PRAGMA synchronous=FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StateError(f"{path} was written by a newer agent (version {version}); install that one again")
        for table in _TABLES:
            connection.execute(table)
        if version < SCHEMA_VERSION:
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    except sqlite3.Error as e:
        if connection is not None:
            connection.close()
        raise StateError(f"cannot use the outbox {path}: {e}; move the file away to begin a new one") from e
    except StateError:
        if connection is not None:
            connection.close()
        raise
    return connection
