"""Label Studio's webhooks wake a waiting run. They are hints: a run without webhooks finds the same by polling.

The receiver listens on a loopback address, and only while a run waits. A request counts as a hint if it carries the
secret, which is compared in constant time. The size of its body is limited, and the body is not used.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Final, Self

from components.settings import Settings, SettingsError

_log = logging.getLogger(__name__)

SECRET_HEADER: Final = "X-Kizu-Webhook-Secret"  # noqa: S105 # the name of a header
# Label Studio sends several hints for one annotation. After the first one the receiver waits this long for the others.
MIN_PAUSE_S: Final = 0.5
_MAX_BODY: Final = 64 * 1024
_MIN_SECRET: Final = 16
_REQUEST_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """The URL that Label Studio calls, and the secret that it sends. `repr` hides the secret."""

    url: str
    secret: str

    def __repr__(self) -> str:
        return f"Webhook({self.url})"


def webhook(settings: Settings) -> Webhook | None:
    """The webhook that the settings name, or None.

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
    """Listens until closed. `wait` sleeps, and returns early when a hint comes."""

    def __init__(self, listen: str, secret: str) -> None:
        """listen: address and port, such as `127.0.0.1:8099`; port 0 takes a free port.

        Raises:
            SettingsError: the address is not a loopback address.
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

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until a hint comes. Returns whether one came."""
        if not self._hinted.wait(seconds):
            return False
        time.sleep(min(seconds, MIN_PAUSE_S))
        self._hinted.clear()
        return True


@contextmanager
def sleeper(settings: Settings, wait_s: float) -> Iterator[Callable[[float], bool | None]]:
    """The function that sleeps while a run waits for people.

    Where the settings name a webhook and an address to listen on, it returns True early when a hint comes. Else, or
    where the port is taken, it is `time.sleep`.
    """
    configured = webhook(settings)
    if configured is None or not settings.webhook_listen or wait_s <= 0:
        yield time.sleep
        return
    try:
        receiver = HintReceiver(settings.webhook_listen, configured.secret)
    except OSError as e:
        _log.warning("no hints on %s (%s); the run polls Label Studio instead", settings.webhook_listen, e)
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
