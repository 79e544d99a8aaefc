"""An outbox as an agent of version 1 left it: its tables in its own words, and one row of each sort."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_agent.disk import RealDisk
from inspection import Reason, Verdict
from tests.edge_agent.outbox_items import image, result

TABLES = """
CREATE TABLE item (
    item_id INTEGER PRIMARY KEY AUTOINCREMENT,
    priority INTEGER NOT NULL,
    created_at REAL NOT NULL,
    capture_id TEXT NOT NULL,
    payload BLOB NOT NULL,
    image_sha256 TEXT,
    image_name TEXT,
    image_key TEXT,
    bytes INTEGER NOT NULL
);
CREATE UNIQUE INDEX item_once ON item (priority = 0, capture_id);
CREATE INDEX item_by_priority ON item (priority, item_id);
CREATE INDEX item_by_age ON item (created_at);
CREATE INDEX item_by_image ON item (image_name);
CREATE TABLE taken (source_key TEXT PRIMARY KEY, capture_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
AGE = "CREATE TABLE age (id INTEGER PRIMARY KEY CHECK (id = 0), seconds REAL NOT NULL);"

COUNTERS = {
    "frames": 4,
    "over_quota": 5,
    "verdict.pass": 3,
    "verdict.fail": 1,
    "day.2026-01-01.pass": 2,
    "day.2026-01-02.pass": 1,
    "day.2026-01-02.fail": 1,
    "rejected.truncated": 6,
    "dropped.control": 7,
    "skipped.top.left": 8,
}


def write(folder: Path, *, with_age: bool = True, created_at: float = 10.0) -> None:
    """Results 0 to 3 wait, of which 3 is recorded but still with its camera, as is `top/9`, which is being set aside.

    An objection (number 1) and a control image (number 2) wait too. `with_age=False`: an agent before there were ages.
    """
    (folder / "images").mkdir(parents=True)
    db = sqlite3.connect(folder / "outbox.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(TABLES + (AGE if with_age else ""))
    insert = (
        "INSERT INTO item (priority, created_at, capture_id, payload, image_sha256, image_name, image_key, bytes) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    for number in range(4):
        payload = result(number).to_json()
        row = (0, created_at, result(number).capture_id, payload, None, None, None, len(payload))
        db.execute(insert, row)
    for number, reason, priority in ((1, Reason.OBJECTION, 1), (2, Reason.CONTROL, 4)):
        sent = image(number, reason, Verdict.PASS)
        name = sent.key.rsplit("/", 1)[-1]
        RealDisk().write(folder / "images" / name, sent.data)
        payload = sent.capture.to_json()
        size = len(payload) + len(sent.data)
        capture = sent.capture
        db.execute(insert, (priority, created_at, capture.capture_id, payload, capture.sha256, name, sent.key, size))
    taken = [("top/3", result(3).capture_id), ("top/9", "rejected.not-an-image")]
    db.executemany("INSERT INTO taken VALUES (?, ?)", taken)
    db.executemany("INSERT INTO counter VALUES (?, ?)", COUNTERS.items())
    if with_age:
        db.execute("INSERT INTO age VALUES (0, ?)", (created_at,))
    db.execute("PRAGMA user_version=1")
    db.close()
