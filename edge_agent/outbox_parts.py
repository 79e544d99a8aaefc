"""The parts that wait for pictures, as rows of the outbox's index: a picture is there exactly when its result is.

A part whose pictures are all there, or whose time is over, is due; `Outbox.answer_parts` answers it. A part that was
answered stays for a while, so that a picture that comes late is told from the first picture of a new part.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from edge_agent.part_answer import OpenPart, PartEnd, PartPicture
from edge_agent.result import Result
from inspection import DocumentError

_log = logging.getLogger(__name__)

_MAX_OPEN: Final = 1000
_MAX_ANSWERED: Final = 10_000
_AT_ONCE: Final = -1.0
"""Due since ever: more parts are open than are kept."""

Count = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PartRule:
    """Which cameras make one part. Times in seconds of use."""

    name: str
    cameras: tuple[str, ...]
    timeout_s: float = 10.0
    late_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Due:
    """A part that is to be answered now."""

    number: int
    part: OpenPart
    end: PartEnd


@dataclass(slots=True)
class PartTable:
    """The table of parts. Its methods run inside a transaction, or while the index is read.

    before: parts up to this number were opened before this start of the agent.
    """

    by_camera: Mapping[str, PartRule]
    before: int = field(default=0)
    max_open: int = _MAX_OPEN

    @classmethod
    def of(cls, rules: Iterable[PartRule], db: sqlite3.Connection) -> PartTable:
        """The table with the rules of the device's file."""
        (last,) = db.execute("SELECT coalesce(max(number), 0) FROM part").fetchone()
        return cls({camera: rule for rule in rules for camera in rule.cameras}, int(last))

    def add(self, db: sqlite3.Connection, result: Result, now: float) -> tuple[Count, ...]:
        """Add one result to its part; what is to be counted. now: seconds of use."""
        rule = self.by_camera.get(result.camera)
        if rule is None:
            return ()
        if result.part_id is None:
            return (("part_unnamed", result.camera),)
        key = (rule.name, result.part_id)
        row = db.execute("SELECT number, due_at, at, state FROM part WHERE name = ? AND part_id = ?", key).fetchone()
        if row is not None and row[1] is None:
            if now - row[2] <= rule.late_s:
                return (("part_late", result.camera),)
            db.execute("DELETE FROM part WHERE number = ?", (row[0],))
            row = None
        picture = PartPicture.of(result)
        if row is not None and (known := _read(row[3])) is not None:
            part = known.with_picture(result.camera, picture)
            due_at = min(row[1], now) if part.is_complete else row[1]
            db.execute("UPDATE part SET due_at = ?, state = ? WHERE number = ?", (due_at, part.to_json(), row[0]))
            return ()
        part = OpenPart(
            name=rule.name, part_id=result.part_id, cameras=rule.cameras, since=result.decided_at,
            timeout_s=rule.timeout_s, pictures={result.camera: picture},
        )  # fmt: skip
        due_at = now if part.is_complete else now + rule.timeout_s
        db.execute(
            "INSERT OR REPLACE INTO part (name, part_id, at, due_at, state) VALUES (?, ?, ?, ?, ?)",
            (*key, now, due_at, part.to_json()),
        )
        db.execute(
            "UPDATE part SET due_at = ? WHERE number IN (SELECT number FROM part WHERE due_at > ? "
            "ORDER BY number DESC LIMIT -1 OFFSET ?)",
            (_AT_ONCE, _AT_ONCE, self.max_open),
        )
        return ()

    def due(self, db: sqlite3.Connection, now: float, limit: int = 100) -> tuple[Due, ...]:
        """The parts to answer now, the oldest first. now: seconds of use."""
        rows = db.execute(
            "SELECT number, due_at, state FROM part WHERE due_at <= ? ORDER BY due_at, number LIMIT ?", (now, limit)
        ).fetchall()
        found = []
        for number, due_at, state in rows:
            part = _read(state)
            if part is None:
                db.execute("DELETE FROM part WHERE number = ?", (number,))
                continue
            if part.is_complete:
                end = PartEnd.COMPLETE
            elif due_at == _AT_ONCE:
                end = PartEnd.TOO_MANY
            else:
                end = PartEnd.RESTART if number <= self.before else PartEnd.TIMEOUT
            found.append(Due(number, part, end))
        return tuple(found)

    def answered(self, db: sqlite3.Connection, due: Due, answer: bytes, now: float) -> None:
        """Note that a part was answered, and forget the oldest answers."""
        db.execute("UPDATE part SET due_at = NULL, at = ?, state = ? WHERE number = ?", (now, answer, due.number))
        db.execute(
            "DELETE FROM part WHERE number IN (SELECT number FROM part WHERE due_at IS NULL "
            "ORDER BY number DESC LIMIT -1 OFFSET ?)",
            (_MAX_ANSWERED,),
        )

    def next_due(self, db: sqlite3.Connection) -> float | None:
        """When the next part is due, in seconds of use; None where none waits."""
        row = db.execute("SELECT min(due_at) FROM part WHERE due_at IS NOT NULL").fetchone()
        return None if row is None or row[0] is None else float(row[0])


def _read(state: bytes) -> OpenPart | None:
    """An open part as it was kept; None, and a line in the log, where its bytes are damaged."""
    try:
        return OpenPart.from_json(state)
    except DocumentError as e:
        _log.error("a part that waited for pictures cannot be read, and gets no answer: %s", e)
        return None


def open_parts(db: sqlite3.Connection) -> int:
    """How many parts wait for pictures."""
    return int(db.execute("SELECT count(*) FROM part WHERE due_at IS NOT NULL").fetchone()[0])
