"""Tells systemd that the agent is ready, and that its inspection loop goes on: `sd_notify` without a library.

systemd gives the service a socket (`NOTIFY_SOCKET`) and the time after which silence counts as hung (`WATCHDOG_USEC`).
The sign of life comes from the inspection loop itself, so that a loop that hangs is ended and started again.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

_log = logging.getLogger(__name__)


class ServiceManager:
    """The service manager that has started this process; does nothing where there is none.

    Args:
        address: of the socket; an address that begins with `@` is abstract. None: nobody listens.
        watchdog_s: seconds of silence after which the manager ends the agent; None: it does not watch.
        clock: seconds, by a clock that never jumps.
    """

    def __init__(
        self,
        address: str | None = None,
        watchdog_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._every_s = watchdog_s / 4 if watchdog_s is not None else None
        self._clock = clock
        self._due = float("-inf")

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """The manager that the environment of this process names; a value of another form is ignored."""
        address = environment.get("NOTIFY_SOCKET") or None
        watched, of_pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        if not watched or (of_pid and of_pid != str(os.getpid())):
            return cls(address)
        if not watched.isdecimal() or int(watched) == 0:
            _log.warning("expected a number of microseconds in WATCHDOG_USEC, but got %r", watched[:40])
            return cls(address)
        return cls(address, int(watched) / 1_000_000)

    def ready(self) -> None:
        """Say that the agent has started."""
        self._say("READY=1")

    def progress(self) -> None:
        """Say that the inspection loop goes on. The loop calls this at each turn; most calls send nothing."""
        if self._every_s is None or (now := self._clock()) < self._due:
            return
        self._due = now + self._every_s
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the agent ends in order."""
        self._say("STOPPING=1")

    def _say(self, words: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)  # the inspection waits for no service manager
                sender.sendto(words.encode(), address)
        except OSError as e:
            _log.debug("cannot tell the service manager %s: %s", words, e)
