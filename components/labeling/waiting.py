"""How a run waits for people: it polls cheaply for a change in Label Studio, and reads all tasks only then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Final

FULL_EVERY_S: Final = 30.0
"""A run that waits reads everything this often, whether or not it saw a change."""

MAX_PAUSE_S: Final = 5.0
"""The longest time for which a run leaves Label Studio alone after a large project was read."""

Sleep = Callable[[float], bool | None]
"""Sleeps for some seconds. It may return early, with True, where somebody said that there is something to read."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait for people, in seconds; 0 collects what is finished and leaves. Clock and sleep are arguments.

    poll_s: seconds between two requests that ask for a change. Each request asks one project, in turn, so that a change
    in one of two projects is seen within twice this time.
    """

    wait_s: float
    poll_s: float = 0.5
    now: Callable[[], float] = time.monotonic
    sleep: Sleep = time.sleep


def wait_for_change(
    waiting: Waiting, seen: Mapping[int, str], mark: Callable[[int], str], *, until: float, pause_s: float = 0.0
) -> None:
    """Return once it is worth reading the projects again, and at `until` (of the clock `waiting.now`) at the latest.

    Args:
        waiting: poll interval, clock and sleep.
        seen: project id -> the mark that it had before it was last read.
        mark: the mark that a project has now; another mark means that something in the project changed.
        until: when to return whatever happens.
        pause_s: how long the last reading took. Label Studio is left alone for as long, at most `MAX_PAUSE_S`, so that
            reading a large project does not keep the server from people's requests.
    """
    until = min(until, waiting.now() + FULL_EVERY_S)
    pause_s = max(min(pause_s, MAX_PAUSE_S), waiting.poll_s)
    for project in cycle(seen):
        left = until - waiting.now()
        if left <= 0:
            return
        hinted = waiting.sleep(min(pause_s, left))
        pause_s = waiting.poll_s
        if hinted or mark(project) != seen[project]:
            return
