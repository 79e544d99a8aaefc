"""The connections of the web server: those that send nothing whole make room for those that do."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 200
_REQUEST_S: Final = 10.0


class Connection(H11Protocol):
    """One connection. It ends where no whole request head came within ten seconds.

    Where all places are taken, the connection that has waited longest for its request ends at once. A health check is
    therefore answered, however many unfinished requests there are.
    """

    made_at: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        if len(self.connections) >= MAX_CONNECTIONS:
            waiting = [other for other in self.connections if isinstance(other, Connection) and other.is_unfinished()]
            if waiting:
                min(waiting, key=lambda other: other.made_at).end()
        super().connection_made(transport)
        self.made_at = time.monotonic()
        self.loop.call_later(_REQUEST_S, self._end_if_silent)

    def is_unfinished(self) -> bool:
        """Whether no request of this connection is being answered."""
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete

    def end(self) -> None:
        """End the connection without an answer."""
        self.connections.discard(self)
        self.transport.abort()

    def _end_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.end()
