"""Keeps the counts of the line over a restart (`<state>/line.json`), and tells the fleet each full window.

The file is written when a window is closed, and seldom besides; a kill loses the counts since. The fleet gets one
object of bounded size, `<device>/line.json`, which replaces the one before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.backoff import Backoff
from edge_agent.damaged import DamagedFiles
from edge_agent.disk import Disk
from edge_agent.errors import EdgeError
from edge_agent.line_counts import LineCounts
from edge_agent.object_store import ObjectStore
from inspection.codec import Document
from inspection.drift import BINS, LineWindow
from inspection.paths import check_sha256

_log = logging.getLogger(__name__)

FILE: Final = "line.json"
_SAVE_EVERY_S: Final = 600.0
_LOOK_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLine(Document):
    """The whole file: the first and the latest full windows of a release, and the open one as it was at the writing."""

    release_digest: str
    windows: tuple[LineWindow, ...]
    begun: LineWindow
    first: LineWindow | None = None

    def __post_init__(self) -> None:
        check_sha256(self.release_digest)
        windows = (*self.windows, self.begun, *([self.first] if self.first is not None else []))
        if any(window.pictures.bins != BINS or window.detections.bins != BINS for window in windows):
            raise ValueError(f"expected counts in bins {BINS}, but got others; another version of the agent wrote them")


class LineReport:
    """The file of the counts, and the object in the fleet bucket.

    Args:
        damaged: where a damaged file is set aside.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        counts: LineCounts,
        state_folder: Path,
        disk: Disk,
        damaged: DamagedFiles,
        store: ObjectStore,
        bucket: str,
        *,
        device: str,
        use_case: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._path = state_folder / FILE
        self._disk = disk
        self._damaged = damaged
        self._store = store
        self._bucket = bucket
        self._device = device
        self._use_case = use_case
        self._clock = clock
        self._saved, self._told = 0, -1
        self._save_at = clock() + _SAVE_EVERY_S
        self._backoff = Backoff(limit_s=600.0)
        self._tell_at = 0.0

    def load(self) -> None:
        """Have the counts go on from the file; from nothing where there is none, or it is damaged."""
        kept = self._damaged.read(self._path, KeptLine)
        if kept is None:
            return
        self._counts.restore(kept.release_digest, kept.first, kept.windows, kept.begun)

    def run(self, stop: threading.Event) -> None:
        """Look after the counts until `stop` is set, and save once more then."""
        while not stop.wait(_LOOK_S):
            self.step()
        self._save()

    def step(self) -> None:
        """Close the window if its time has come, save what should not be lost, and tell the fleet of full windows."""
        self._counts.close_if_full()
        closed, now = self._counts.closed, self._clock()
        if closed != self._saved or now >= self._save_at:
            self._save()
            self._saved, self._save_at = closed, now + _SAVE_EVERY_S
        if closed != self._told and now >= self._tell_at:
            self._tell(closed)

    def _save(self) -> None:
        kept = self._counts.kept()
        if kept is None:
            return
        digest, first, windows, begun = kept
        document = KeptLine(release_digest=digest, first=first, windows=windows, begun=begun)
        try:
            self._disk.write(self._path, document.to_json())
        except OSError as e:
            _log.warning("the counts of the line are not kept: %s", e)

    def _tell(self, closed: int) -> None:
        """Put the full windows; after a start too, since an earlier start may have failed to."""
        windows = self._counts.windows(self._device, self._use_case)
        if windows is not None:
            key = f"{self._device}/line.json"
            try:
                self._store.put(self._bucket, key, windows.to_json(), content_type="application/json")
            except EdgeError as e:
                if self._backoff.failures == 0:
                    _log.warning("cannot tell the fleet what the line shows: %s", e)
                self._tell_at = self._clock() + self._backoff.failed()
                return
            self._backoff.succeeded()
        self._told = closed
