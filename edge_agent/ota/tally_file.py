"""Keeps the tallies of releases over a restart of the agent: `<state>/tallies.json`, written seldom.

A kill loses the counts since the last writing. A file that is damaged is set aside, and the counts begin anew.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from edge_agent.damaged import DamagedFiles
from edge_agent.disk import Disk
from edge_agent.ota.tallies import FRAMES, RELEASES, Line, Tallies
from inspection import Verdict
from inspection.codec import Document, Part
from inspection.paths import check_sha256

_log = logging.getLogger(__name__)

FILE: Final = "tallies.json"
_EVERY_S: Final = 600.0
_LETTERS: Final = {Verdict.PASS: "p", Verdict.FAIL: "f", Verdict.UNCERTAIN: "u", Verdict.NOT_INSPECTED: "n"}
_VERDICTS: Final = {letter: verdict for verdict, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTally(Part):
    """The latest results of one release, oldest first: a letter each, and the milliseconds of those with a verdict."""

    release_digest: str
    since: datetime
    verdicts: str
    infer_ms: tuple[float, ...]
    compared: str

    def __post_init__(self) -> None:
        check_sha256(self.release_digest)
        if set(self.verdicts) - set(_VERDICTS) or set(self.compared) - set("01"):
            raise ValueError(f"expected letters of {sorted(_VERDICTS)}, and 0 or 1, but got others")
        if len(self.infer_ms) != len(self.verdicts) - self.verdicts.count("n"):
            raise ValueError(f"expected one time for each verdict, but got {len(self.infer_ms)} times")

    @classmethod
    def of(cls, digest: str, line: Line) -> KeptTally:
        """What the file holds of one release."""
        return cls(
            release_digest=digest,
            since=line.since,
            verdicts="".join(_LETTERS[verdict] for verdict, _ in line.results),
            infer_ms=tuple(round(ms, 1) for _, ms in line.results if ms is not None),
            compared="".join("1" if differs else "0" for differs in line.compared),
        )

    def line(self) -> Line:
        """The same as `Tallies` counts on; none of it counts for a probation."""
        line, times = Line(self.since), iter(self.infer_ms)
        for letter in self.verdicts:
            line.add(_VERDICTS[letter], None if letter == "n" else next(times))
        line.compared = deque((digit == "1" for digit in self.compared), FRAMES)
        line.fresh = 0
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTallies(Document):
    """The whole file: the latest releases, newest last."""

    releases: tuple[KeptTally, ...] = ()


class TallyFile:
    """The file of the tallies of one device.

    Args:
        damaged: where a damaged file is set aside.
    """

    def __init__(self, state_folder: Path, disk: Disk, damaged: DamagedFiles) -> None:
        self._path = state_folder / FILE
        self._disk = disk
        self._damaged = damaged
        self._written = -1

    def load(self, tallies: Tallies) -> None:
        """Have `tallies` go on from the file; from nothing where there is none, or it is damaged."""
        kept = self._damaged.read(self._path, KeptTallies)
        if kept is None:
            return
        tallies.restore((item.release_digest, item.line()) for item in kept.releases[-RELEASES:])
        self._written = tallies.changes

    def save(self, tallies: Tallies) -> bool:
        """Write the file where something was counted since; whether it is written. A full disk only delays that."""
        changes = tallies.changes
        if changes == self._written:
            return False
        document = KeptTallies(releases=tuple(KeptTally.of(digest, line) for digest, line in tallies.kept()))
        try:
            self._disk.write(self._path, document.to_json())
        except OSError as e:
            _log.warning("the counts of releases are not kept: %s", e)
            return False
        self._written = changes
        return True

    def run(self, tallies: Tallies, stop: threading.Event, every_s: float = _EVERY_S) -> None:
        """Save every `every_s` seconds, and once more when `stop` is set."""
        while not stop.wait(every_s):
            self.save(tallies)
        self.save(tallies)
