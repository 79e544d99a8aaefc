"""Reports to the fleet what runs here: `<device>/reported.json`, at each change and at a fixed interval."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from edge_agent.backoff import Backoff
from edge_agent.errors import EdgeError
from edge_agent.object_store import ObjectStore
from inspection import CameraState, Reported, ShadowTally

_log = logging.getLogger(__name__)

_WAIT_S: Final = 0.5
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FleetReporter:
    """Puts the device report into the fleet bucket. A report that could not be put is replaced by a new one later.

    Args:
        describe: makes the report of this moment.
        every_s: seconds after which the report is put again though nothing has changed.
    """

    def __init__(
        self, store: ObjectStore, bucket: str, device: str, describe: Callable[[], Reported], every_s: float
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._key = f"{device}/reported.json"
        self._describe = describe
        self._every_s = every_s
        self._backoff = Backoff(limit_s=60.0)
        self._changed = threading.Event()
        self._last: Reported | None = None
        self._due = 0.0

    def changed(self) -> None:
        """Have `run` compare the report with the last one now. Any thread may call this."""
        self._changed.set()

    def run(self, stop: threading.Event) -> None:
        """Report until `stop` is set."""
        while not stop.is_set():
            self._changed.wait(_WAIT_S)
            self._changed.clear()
            try:
                self.report_if_due()
                self._backoff.succeeded()
            except EdgeError as e:
                if self._backoff.failures == 0:
                    _log.warning("cannot report to the fleet: %s", e)
                stop.wait(self._backoff.failed())
            except Exception:
                # Whatever a part of the report meets while it is made: the line inspects without it.
                _log.exception("the device report could not be made")
                stop.wait(self._backoff.failed())

    def report_if_due(self) -> bool:
        """Put the report where the last one is old, or differs in more than numbers that always move.

        Returns:
            Whether it was put.

        Raises:
            StoreError: it could not be put.
        """
        report = self._describe()
        if time.monotonic() < self._due and self._last is not None and _lasting(report) == _lasting(self._last):
            return False
        self._store.put(self._bucket, self._key, report.to_json(), content_type="application/json")
        self._last = report
        self._due = time.monotonic() + self._every_s
        return True


def _lasting(report: Reported) -> Reported:
    """A report without what moves with every frame."""
    cameras = report.cameras or {}
    return replace(
        report,
        reported_at=_LONG_AGO,
        uptime_s=0.0,
        outbox_depth=0,
        frames=None,
        rejected=None,
        problem=None,
        verdicts=None,
        tallies=None,
        cameras={name: CameraState(ok=camera.ok) for name, camera in cameras.items()},
        shadow=_candidate(report.shadow),
    )


def _candidate(shadow: ShadowTally | None) -> ShadowTally | None:
    """Which candidate judges here, or why it does not."""
    if shadow is None:
        return None
    return ShadowTally(release_digest=shadow.release_digest, since=_LONG_AGO, reason=shadow.reason)
