"""Waits until the servers that a process needs at its start are there, with a line in the log now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from components.same_line import SameLine

_log = logging.getLogger(__name__)

EVERY_S: Final = 5.0

T = TypeVar("T")


def when_there(
    attempt: Callable[[], T],
    is_away: Callable[[Exception], bool],
    who: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> T:
    """Call `attempt` until it succeeds, every 5 s, and return what it returned.

    On a cluster all pods start at once: names resolve and buckets exist some seconds later. A process that ends in the
    meantime is restarted with growing pauses, and looks broken although nothing is.

    Args:
        is_away: whether an error says that something is not there yet. All other errors are raised.
        who: what waits, for the log. A line is written at first, when the reason changes, and then once a minute.
    """
    line = SameLine()
    while True:
        try:
            found = attempt()
        except Exception as e:
            if not is_away(e):
                raise
            if line.is_due(str(e), now()):
                _log.warning("%s waits, and tries again every %.0f s: %s", who, EVERY_S, e)
            sleep(EVERY_S)
        else:
            if line.was_said:
                _log.info("%s has what it waited for", who)
            return found
