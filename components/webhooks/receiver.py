"""Label Studio's webhooks wake a waiting run. They are hints: what they say is not read, polling is the truth.

The receiver listens on loopback only, while a run waits. A hint counts with the secret alone, which is compared in
constant time; its body is limited and thrown away.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Final, Self

from components.settings import Settings, SettingsError

_log = logging.getLogger(__name__)

SECRET_HEADER: Final = "X-Kizu-Webhook-Secret"  # noqa: S105 # the name of a header
# Annotations come with many hints at once; Label Studio is not read more often than this.
MIN_PAUSE_S: Final = 0.5
_MAX_BODY: Final = 64 * 1024
_MIN_SECRET: Final = 16
_REQUEST_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """What Label Studio is told to call. `repr` hides the secret."""

    url: str
    secret: str

    def __repr__(self) -> str:
        return f"Webhook({self.url})"


def webhook(settings: Settings) -> Webhook | None:
    """The webhook that the settings name; None where they name none.

    Raises:
        SettingsError: one of its settings is missing or wrong.
    """
    if not settings.webhook_url:
        return None
    secret = settings.required("webhook_secret")
    if len(secret) < _MIN_SECRET:
        raise SettingsError(f"expected KIZU_WEBHOOK_SECRET of at least {_MIN_SECRET} characters, but got {len(secret)}")
    return Webhook(settings.webhook_url, secret)


class HintReceiver:
    """Listens until closed. `wait` sleeps, and wakes early where a hint came."""

    def __init__(self, listen: str, secret: str) -> None:
        """listen: `127.0.0.1:8099`; port 0 takes a free one.

        Raises:
            SettingsError: the address is none of loopback's.
            OSError: the port is taken.
        """
        host, port = _address(listen)
        self._hinted = threading.Event()
        self._server = ThreadingHTTPServer((host, port), _handler(secret, self._hinted))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="label studio's hints", daemon=True)
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

    def wait(self, seconds: float) -> None:
        """Sleep for so long, or until a hint comes."""
        if self._hinted.wait(seconds):
            time.sleep(min(seconds, MIN_PAUSE_S))  # what comes at once is looked at at once
            self._hinted.clear()


@contextmanager
def sleeper(settings: Settings, wait_s: float) -> Iterator[Any]:
    """How to sleep between two looks: until a hint comes where hints are set up, else for the whole time."""
    configured = webhook(settings)
    if configured is None or not settings.webhook_listen or wait_s <= 0:
        yield time.sleep
        return
    try:
        receiver = HintReceiver(settings.webhook_listen, configured.secret)
    except OSError as e:
        _log.warning("no hints on %s (%s); Label Studio is looked at now and then", settings.webhook_listen, e)
        yield time.sleep
        return
    with receiver:
        yield receiver.wait


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    try:
        if ip_address(host.strip("[]")).is_loopback and 0 <= int(port) <= 65535:
            return host.strip("[]"), int(port)
    except ValueError:
        pass
    raise SettingsError(f"expected KIZU_WEBHOOK_LISTEN to be a loopback address and a port, but got {listen!r}")


def _handler(secret: str, hinted: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S

        def do_POST(self) -> None:
            given = self.headers.get(SECRET_HEADER, "")
            if not hmac.compare_digest(given.encode("latin-1", "replace"), secret.encode()):
                self._answer(401)
                return
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                self._answer(411)
                return
            if int(length) > _MAX_BODY:
                self._answer(413)
                return
            self.rfile.read(int(length))
            hinted.set()
            self._answer(204)

        def _answer(self, status: int) -> None:
            self.close_connection = True
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            _log.debug("hint: " + format, *args)

    return Handler
