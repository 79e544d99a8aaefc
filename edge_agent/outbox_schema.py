"""The tables of the outbox, their versions, and the order in which items may be dropped."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Final

from edge_agent.errors import DamagedState, StateError, Unwritable
from inspection import Reason, Verdict

_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What an item is: a result goes to the line over MQTT, an image with its Capture goes to S3."""

    RESULT = "result"
    IMAGE = "image"


class Priority(IntEnum):
    """The order of dropping: the highest number first, and in it the oldest item. Results come last.

    A share of the outbox is reserved for control frames; see `outbox_order`.
    """

    RESULT = 0
    OBJECTION = 1
    DEFECT = 2
    UNCERTAIN = 3
    CONTROL = 4
    """Drawn at random from all frames. All verdicts are in one class: a share of defects can be estimated only where
    those with a defect are not kept for longer."""
    NOTHING_FOUND = 5

    @classmethod
    def of(cls, reason: Reason, verdict: Verdict | None) -> Priority:
        """The priority of an image, by the reason why it is sent and the verdict on it."""
        if reason is Reason.OBJECTION:
            return cls.OBJECTION
        if reason is Reason.CONTROL:
            return cls.CONTROL
        if verdict is Verdict.FAIL:
            return cls.DEFECT
        if reason in (Reason.UNCERTAIN, Reason.DISAGREEMENT):
            return cls.UNCERTAIN
        return cls.NOTHING_FOUND


RESULTS_TOPIC: Final = "results"
PARTS_TOPIC: Final = "parts"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An item that waits to be sent.

    payload: the Capture, the Result or the PartResult, as JSON. image_*: None for a message to the line. topic: where a
    message goes, below the device's own topics.
    """

    item_id: int
    priority: Priority
    capture_id: str
    payload: bytes
    image_key: str | None
    image_file: Path | None
    image_sha256: str | None
    topic: str = RESULTS_TOPIC


SCHEMA_VERSION: Final = 3

_VERSION_1: Final = (
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
    # name: such as `frames`, `verdict.pass`, or `day.2026-01-31.pass`.
    "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS age (id INTEGER PRIMARY KEY CHECK (id = 0), seconds REAL NOT NULL)",
)
"""The tables of the first agents. Early ones had no table `age`, so these statements also complete what is there."""

_VERSION_2: Final = (
    # The default is the kind of most rows: an outbox that holds 100,000 results rewrites none of them.
    "ALTER TABLE item ADD COLUMN kind TEXT NOT NULL DEFAULT 'result' CHECK (kind IN ('result', 'image'))",
    "UPDATE item SET kind = 'image' WHERE priority > 0",
    "DROP INDEX item_once",
    "CREATE UNIQUE INDEX item_once ON item (kind, capture_id)",
    "DROP INDEX item_by_priority",
    "CREATE INDEX item_by_kind ON item (kind, priority, item_id)",
    # rejected: why the camera is setting the frame aside; NULL for a recorded frame, which has a capture_id.
    """CREATE TABLE taken_2 (
    source_key TEXT PRIMARY KEY,
    capture_id TEXT,
    rejected TEXT,
    CHECK ((capture_id IS NULL) <> (rejected IS NULL))
) WITHOUT ROWID""",
    """INSERT INTO taken_2 SELECT
    source_key,
    CASE WHEN capture_id NOT LIKE 'rejected.%' THEN capture_id END,
    CASE WHEN capture_id LIKE 'rejected.%' THEN substr(capture_id, 10) END
FROM taken""",
    "DROP TABLE taken",
    "ALTER TABLE taken_2 RENAME TO taken",
    # name: which verdict, reason, class or camera; empty where there is one number only. day: empty for all days.
    """CREATE TABLE counter_2 (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    day TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (kind, name, day)
) WITHOUT ROWID""",
    "INSERT INTO counter_2 SELECT 'verdict', substr(name, 16), substr(name, 5, 10), value FROM counter "
    "WHERE name LIKE 'day.%'",
    "INSERT INTO counter_2 SELECT substr(name, 1, instr(name || '.', '.') - 1), "
    "substr(name, instr(name || '.', '.') + 1), '', value FROM counter WHERE name NOT LIKE 'day.%'",
    "DROP TABLE counter",
    "ALTER TABLE counter_2 RENAME TO counter",
)
"""What was part of another column, or of a name, becomes a column: the kind of an item, the reason of a frame that is
set aside, and kind and day of a counter."""


_VERSION_3: Final = (
    # number: the order in which they were answered.
    """CREATE TABLE answer (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    request_key TEXT NOT NULL UNIQUE,
    result BLOB NOT NULL
)""",
)
"""The results of posted images by their idempotency keys, so that a restart forgets none."""
_STEPS: Final = (_VERSION_1, _VERSION_2, _VERSION_3)

_ADDED: Final = {
    "item": ("ALTER TABLE item ADD COLUMN topic TEXT NOT NULL DEFAULT 'results'",),
    "part": (
        # at: when it was opened, or answered, in seconds of use. due_at: when it is answered at the latest; NULL for
        # one that was. state: an OpenPart, or the PartResult.
        """CREATE TABLE part (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    part_id TEXT NOT NULL,
    at REAL NOT NULL,
    due_at REAL,
    state BLOB NOT NULL,
    UNIQUE (name, part_id)
)""",
        "CREATE INDEX part_by_due ON part (due_at)",
    ),
}
"""What came later and does not change the version: an earlier agent, to which a device may go back, works with it too.
By table: the statements that bring it, where it is not there."""

_UNWRITABLE: Final = frozenset(
    {
        sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
    }
)  # fmt: skip
_JOURNAL_BYTES: Final = 4_400_000
"""A little more than the thousand pages after which SQLite writes the journal back and begins it again: one that is cut
shorter each time has to grow again, which takes longer than writing over it."""
_INCREMENTAL: Final = 2  # what the pragma answers


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is no index, or a broken one; a full disk or a lock says nothing of that."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_unwritable(error: sqlite3.Error) -> bool:
    """Whether an error says that the disk cannot be written now, and nothing about what was to be written."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _UNWRITABLE


def connect(path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """Open the index; make it where there is none, or bring it to this version in one transaction.

    Raises:
        DamagedState: not a database, or a broken one.
        Unwritable: the disk is full, or cannot be written for another reason.
        StateError: one of a newer agent.
    """
    connection = None
    try:
        # Autocommit: transactions are written out where they begin and end. One connection, guarded by a lock.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30, factory=factory)
        # Before the first table: free pages can then be given back to the disk little by little.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
        # FULL: a commit is on the disk when it returns. NORMAL would lose the last results in a power cut.
        connection.execute("PRAGMA synchronous=FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StateError(f"{path} was written by a newer agent (version {version}); install that one again")
        if version < SCHEMA_VERSION:
            connection.execute("BEGIN IMMEDIATE")
            # Tables without a version are those of version 1, or of the agents before it.
            for step in _STEPS[version if version > 1 else 0 :]:
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            connection.execute("COMMIT")
        _add_what_came_later(connection)
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
            _make_shrinkable(connection, path)
    except sqlite3.Error as e:
        if connection is not None:
            connection.close()  # which rolls back
        if getattr(e, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise Unwritable(f"cannot use the outbox {path}: {e}; free some disk") from e
        # Where it is opened, a statement that makes no sense means tables that are not there.
        if is_damage(e) or getattr(e, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise DamagedState("unreadable", f"cannot use the outbox {path}: {e}") from e
        code = getattr(e, "sqlite_errorcode", None)
        kind = Unwritable if code is not None and is_unwritable(e) else StateError
        raise kind(f"cannot use the outbox {path}: {e}") from e
    except StateError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _add_what_came_later(connection: sqlite3.Connection) -> None:
    """Add the column and the table that are not there yet, in one transaction."""
    columns = {table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} for table in _ADDED}
    missing = [table for table, column in (("item", "topic"), ("part", "state")) if column not in columns[table]]
    if missing:
        connection.execute("BEGIN IMMEDIATE")
        for table in missing:
            for statement in _ADDED[table]:
                connection.execute(statement)
        connection.execute("COMMIT")


def _make_shrinkable(connection: sqlite3.Connection, path: Path) -> None:
    """Write the file of an earlier agent anew, once, so that it can give free pages back to the disk."""
    try:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")
    except sqlite3.OperationalError as e:  # no room for the copy: it works as before, and the next start tries again
        _log.warning("%s does not shrink yet: %s", path, e)
