"""Tells the fleet what runs here: `<device>/reported.json`, at each change and every so often."""

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
from inspection import Reported

_log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Reporter:
    """Puts the report. A report that cannot be put is made anew later; an old one is worth nothing."""

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
        self._told: Reported | None = None
        self._due = 0.0

    def changed(self) -> None:
        """Something may be worth telling now."""
        self._changed.set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            self._changed.wait(_LOOK_S)
            self._changed.clear()
            try:
                self.report_if_due()
                self._backoff.succeeded()
            except EdgeError as e:
                if self._backoff.failures == 0:
                    _log.warning("cannot report: %s", e)
                stop.wait(self._backoff.failed())

    def report_if_due(self) -> bool:
        """Put the report where it differs from the last one in more than its gauges, or that one is old.

        Raises:
            StoreError: it was not put.
        """
        report = self._describe()
        if time.monotonic() < self._due and self._told is not None and _lasting(report) == _lasting(self._told):
            return False
        self._store.put(self._bucket, self._key, report.to_json(), content_type="application/json")
        self._told = report
        self._due = time.monotonic() + self._every_s
        return True


def _lasting(report: Reported) -> Reported:
    """A report without the numbers that always move."""
    return replace(report, reported_at=_LONG_AGO, uptime_s=0.0, outbox_depth=0, unknown={})
