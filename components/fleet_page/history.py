"""Samples of the devices' reports over time, in a SQLite file of bounded size.

A report in the fleet bucket replaces the one before it, so the page keeps what it saw. It is a convenience for people:
losing the file loses charts of the past and nothing else. Prometheus keeps the fleet's metrics for longer.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from inspection.documents import Reported

_log = logging.getLogger(__name__)
KEPT: Final = timedelta(days=30)
MAX_SAMPLES: Final = 300_000
"""About 100 MB."""
EVERY: Final = timedelta(minutes=5)
"""A device whose state stays the same gets a sample this often."""
VERDICTS: Final = ("pass", "fail", "uncertain", "not-inspected")

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS samples (
    device TEXT NOT NULL, at REAL NOT NULL, use_case TEXT, grp TEXT NOT NULL, state TEXT NOT NULL, running TEXT,
    pending TEXT, reason TEXT NOT NULL, outbox INTEGER NOT NULL,
    passed INTEGER, failed INTEGER, uncertain INTEGER, not_inspected INTEGER,
    PRIMARY KEY (device, at)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_time ON samples (at);
PRAGMA user_version = 1;
"""
_BUCKETS: Final = """
WITH steps AS (
    SELECT at, use_case, grp,
        MAX(0, passed - LAG(passed) OVER w), MAX(0, failed - LAG(failed) OVER w),
        MAX(0, uncertain - LAG(uncertain) OVER w), MAX(0, not_inspected - LAG(not_inspected) OVER w)
    FROM samples WHERE (:device = '' OR device = :device) WINDOW w AS (PARTITION BY device ORDER BY at)
), named (at, use_case, grp, passed, failed, uncertain, not_inspected) AS (SELECT * FROM steps)
SELECT CAST((at - :since) / :bucket AS INTEGER), TOTAL(passed), TOTAL(failed), TOTAL(uncertain), TOTAL(not_inspected)
FROM named
WHERE at >= :since AND at < :until
    AND (:grp = '' OR grp = :grp) AND (:use_case = '' OR use_case IS NULL OR use_case = :use_case)
GROUP BY 1
"""
_CHANGES: Final = """
WITH steps AS (
    SELECT *, LAG(state) OVER w AS state0, LAG(running) OVER w AS running0, LAG(pending) OVER w AS pending0,
        LAG(reason) OVER w AS reason0
    FROM samples WHERE device = :device WINDOW w AS (ORDER BY at)
)
SELECT at, state, running, pending, reason FROM steps
WHERE state0 IS NULL OR state IS NOT state0 OR running IS NOT running0 OR pending IS NOT pending0
    OR reason IS NOT reason0
ORDER BY at DESC LIMIT :most
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Verdicts between two times. at: the first of them."""

    at: datetime
    passed: int = 0
    failed: int = 0
    uncertain: int = 0
    not_inspected: int = 0

    @property
    def all(self) -> int:
        """All of them."""
        return self.passed + self.failed + self.uncertain + self.not_inspected


@dataclass(frozen=True, slots=True)
class Change:
    """What a device reported from a time on."""

    at: datetime
    state: str
    running: str | None
    pending: str | None
    reason: str


class History:
    """The file. Safe to share between threads. A file that cannot be read is set aside, and a new one begun."""

    def __init__(self, path: Path, *, max_samples: int = MAX_SAMPLES) -> None:
        self._lock = threading.Lock()
        self._max = max_samples
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as e:
            _log.error("the history %s cannot be read and is set aside: %s", path, e)
            for ending in ("-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            path.replace(path.with_name(f"{path.name}.damaged"))
            self._db = _open(path)

    def add(self, reports: Iterable[Reported]) -> None:
        """Keep a sample of each report that says something new, and forget what is too old or too much."""
        with self._lock, self._db:
            newest = {
                row[0]: row[1:]
                for row in self._db.execute(
                    "SELECT device, MAX(at), state, running, pending, reason FROM samples GROUP BY 1"
                )
            }
            rows, times = [], []
            for report in reports:
                at, said = (
                    report.reported_at.timestamp(),
                    (report.state, report.running_release, report.pending_release),
                )
                reason = report.problem or report.reason
                last = newest.get(report.device)
                if last and (at <= last[0] or (at < last[0] + EVERY.total_seconds() and (*said, reason) == last[1:])):
                    continue
                verdicts = report.verdicts
                counts = [None if verdicts is None else verdicts.get(name, 0) for name in VERDICTS]
                times.append(at)
                rows.append(
                    (report.device, at, report.use_case, report.group, *said, reason, report.outbox_depth, *counts)
                )
            self._db.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            if times:
                self._forget(max(times))

    def _forget(self, newest: float) -> None:
        self._db.execute("DELETE FROM samples WHERE at < ?", (newest - KEPT.total_seconds(),))
        (number,) = self._db.execute("SELECT COUNT(*) FROM samples").fetchone()
        if number > self._max:  # a tenth at once, so that not every pass has to
            drop = number - self._max + self._max // 10
            (limit,) = self._db.execute("SELECT at FROM samples ORDER BY at LIMIT 1 OFFSET ?", (drop,)).fetchone()
            self._db.execute("DELETE FROM samples WHERE at < ?", (limit,))

    def verdicts(
        self, since: datetime, until: datetime, parts: int, *, use_case: str = "", group: str = "", device: str = ""
    ) -> tuple[Counts, ...]:
        """Verdicts in equal parts of a time, by what the devices' counts grew. An empty filter lets all pass."""
        bucket = (until - since).total_seconds() / parts
        values = {
            "since": since.timestamp(), "until": until.timestamp(), "bucket": bucket, "use_case": use_case,
            "grp": group, "device": device,
        }  # fmt: skip
        with self._lock:
            found = {int(row[0]): row[1:] for row in self._db.execute(_BUCKETS, values)}
        step = (until - since) / parts
        return tuple(Counts(since + number * step, *map(int, found.get(number, ()))) for number in range(parts))

    def changes(self, device: str, most: int = 100) -> tuple[Change, ...]:
        """When a device began to report another state, release or reason, newest first."""
        with self._lock:
            rows = self._db.execute(_CHANGES, {"device": device, "most": most}).fetchall()
        return tuple(Change(datetime.fromtimestamp(row[0], UTC), *row[1:]) for row in rows)

    def __len__(self) -> int:
        with self._lock:
            number: int = self._db.execute("SELECT COUNT(*) FROM samples").fetchone()[0]
            return number

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > 1:
            raise sqlite3.DatabaseError(f"its form {version} is newer than this program (1)")
        db.executescript(_TABLE)
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.close()
        raise
    return db
