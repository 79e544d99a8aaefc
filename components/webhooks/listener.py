"""Listens for hints: a thread with a small HTTP server, and a wait that a hint ends.

A hint only shortens a wait, so its body is checked and not used. Who is known by a header is known before the body is
read; the body's size is limited, and no caller holds up another one.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

_log = logging.getLogger(__name__)

MIN_PAUSE_S: Final = 0.5
"""Several hints come for one act of a person. After the first one the listener waits this long for the others."""
_MAX_BODY: Final = 64 * 1024
_REQUEST_S: Final = 5.0

Headers = Message
"""The headers of a request; names in any case."""


@dataclass(frozen=True, slots=True)
class Hint:
    """How the sender of a hint is known. by_headers: before its body is read. by_body: with it."""

    by_headers: Callable[[Headers], bool] = lambda headers: True
    by_body: Callable[[Headers, bytes], bool] = lambda headers, body: True


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a GET."""

    status: int
    body: bytes = b""
    kind: str = "text/plain"


def is_secret(given: str, secret: str) -> bool:
    """Whether a header holds a secret, compared in constant time."""
    return hmac.compare_digest(given.encode("latin-1", "replace"), secret.encode())


class HintListener:
    """Listens until closed. `wait` sleeps, and returns early when a hint comes.

    Args:
        host, port: to listen on; port 0 takes a free port.
        name: of the thread.
        hint_at: the hint of a path; None where a path takes none.
        pages: path -> what a GET answers.
        hinted: called for each hint that is taken.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        name: str,
        hint_at: Callable[[str], Hint | None],
        pages: Mapping[str, Callable[[], Page]] | None = None,
        hinted: Callable[[], None] = lambda: None,
    ) -> None:
        self._hinted = threading.Event()
        self._closed = False

        def take() -> None:
            hinted()
            self._hinted.set()

        self._server = ThreadingHTTPServer((host, port), _handler(hint_at, pages or {}, take))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name=name, daemon=True)
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until a hint comes. Returns whether one came."""
        if not self._hinted.wait(seconds):
            return False
        if not self._closed:
            time.sleep(min(seconds, MIN_PAUSE_S))
        self._hinted.clear()
        return True

    def wake(self) -> None:
        """End the present wait, from a signal handler: the process stops."""
        self._closed = True
        self._hinted.set()


def _handler(
    hint_at: Callable[[str], Hint | None], pages: Mapping[str, Callable[[], Page]], take: Callable[[], None]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S

        def do_GET(self) -> None:
            page = pages.get(self.path)
            self._answer(page() if page is not None else Page(404))

        def do_POST(self) -> None:
            hint = hint_at(self.path)
            self._answer(Page(404) if hint is None else self._taken(hint))

        def _taken(self, hint: Hint) -> Page:
            if not hint.by_headers(self.headers):
                return Page(401)  # before the body is read
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                return Page(411)
            if int(length) > _MAX_BODY:
                return Page(413)
            if not hint.by_body(self.headers, self.rfile.read(int(length))):
                return Page(401)
            take()
            return Page(204)

        def _answer(self, page: Page) -> None:
            self.close_connection = True
            self.send_response(page.status)
            self.send_header("Content-Type", page.kind)
            self.send_header("Content-Length", str(len(page.body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, format: str, *args: Any) -> None:
            _log.debug("hint: " + format, *args)

    return Handler
