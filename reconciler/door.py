"""The reconciler's door: health, metrics, and webhooks that shorten the wait to the next pass.

    GET  /healthz           200 while passes come to an end, good or bad; 503 where none has for too long
    GET  /metrics           Prometheus
    POST /hints/label-studio  with Label Studio's secret in a header
    POST /hints/mlflow        with MLflow's signature

A hint is only a hint: its body is checked, not used, and whatever it tells is found by the next pass too. Without its
secret in the settings a hint's address does not exist.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from components.settings import Settings, SettingsError
from components.webhooks.receiver import MIN_PAUSE_S, SECRET_HEADER

_log = logging.getLogger(__name__)

LABEL_STUDIO_PATH: Final = "/hints/label-studio"
MLFLOW_PATH: Final = "/hints/mlflow"
_MAX_BODY: Final = 64 * 1024
_MIN_SECRET: Final = 16
_REQUEST_S: Final = 5.0
_MAX_AGE_S: Final = 300
"""A signed hint that is older was recorded by somebody and sent again."""


@dataclass(frozen=True, slots=True)
class HintSecrets:
    """The secrets by which hints are known; '' refuses them. `repr` hides them."""

    label_studio: str = ""
    mlflow: str = ""

    def __repr__(self) -> str:
        return f"HintSecrets(label_studio={bool(self.label_studio)}, mlflow={bool(self.mlflow)})"

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The secrets that are set.

        Raises:
            SettingsError: one is too short.
        """
        given = {}
        for field, name, secret in (
            ("label_studio", "KIZU_WEBHOOK_SECRET", settings.webhook_secret),
            ("mlflow", "KIZU_MLFLOW_WEBHOOK_SECRET", settings.mlflow_webhook_secret),
        ):
            value = secret.get_secret_value() if secret else ""
            if value and len(value) < _MIN_SECRET:
                raise SettingsError(f"expected {name} of at least {_MIN_SECRET} characters, but got {len(value)}")
            given[field] = value
        return cls(**given)


def mlflow_signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """The signature that MLflow sends: `v1,` and the HMAC-SHA256 of `<delivery>.<timestamp>.<body>` in base64.

    Source: `mlflow/webhooks/delivery.py`, MLflow 3.17.
    """
    signed = f"{delivery}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


class Door:
    """Listens until closed. `wait` sleeps, and returns early when a hint comes.

    Args:
        listen: address and port; port 0 takes a free port.
        secrets: of the hints.
        metrics: the text of `GET /metrics`.
        healthy: what `GET /healthz` answers by.
        hinted: called for each hint that is taken.

    Raises:
        SettingsError: the address has another form.
        OSError: the port is taken.
    """

    def __init__(
        self,
        listen: str,
        secrets: HintSecrets,
        metrics: Callable[[], bytes],
        healthy: Callable[[], bool],
        hinted: Callable[[], None] = lambda: None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        host, separator, port = listen.rpartition(":")
        if not separator or not port.isdecimal() or int(port) > 65535:
            raise SettingsError(f"expected an address and a port, such as 127.0.0.1:8086, but got {listen!r}")
        self._event = threading.Event()
        self._closed = False

        def take() -> None:
            hinted()
            self._event.set()

        handler = _handler(secrets, metrics, healthy, take, now)
        self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="the reconciler's door", daemon=True)
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
        """Sleep for `seconds`, or until a hint comes. Returns whether one came.

        Several hints come for one act of a person, so that the first is followed by a short pause.
        """
        if not self._event.wait(seconds):
            return False
        if not self._closed:
            time.sleep(min(seconds, MIN_PAUSE_S))
        self._event.clear()
        return True

    def wake(self) -> None:
        """End the present wait, from a signal handler: the process stops."""
        self._closed = True
        self._event.set()


def _handler(
    secrets: HintSecrets,
    metrics: Callable[[], bytes],
    healthy: Callable[[], bool],
    take: Callable[[], None],
    now: Callable[[], float],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, metrics(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/healthz":
                self._answer(200 if healthy() else 503)
            else:
                self._answer(404)

        def do_POST(self) -> None:
            secret = {LABEL_STUDIO_PATH: secrets.label_studio, MLFLOW_PATH: secrets.mlflow}.get(self.path, "")
            if not secret:
                self._answer(404)
                return
            if self.path == LABEL_STUDIO_PATH and not self._is_label_studio(secret):
                self._answer(401)  # before the body is read
                return
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                self._answer(411)
                return
            if int(length) > _MAX_BODY:
                self._answer(413)
                return
            body = self.rfile.read(int(length))
            if self.path == MLFLOW_PATH and not self._is_mlflow(secret, body):
                self._answer(401)
                return
            take()
            self._answer(204)

        def _is_label_studio(self, secret: str) -> bool:
            given = self.headers.get(SECRET_HEADER, "")
            return hmac.compare_digest(given.encode("latin-1", "replace"), secret.encode())

        def _is_mlflow(self, secret: str, body: bytes) -> bool:
            delivery = self.headers.get("X-MLflow-Delivery-Id", "")
            timestamp = self.headers.get("X-MLflow-Timestamp", "")
            if not timestamp.isdecimal() or abs(now() - int(timestamp)) > _MAX_AGE_S:
                return False
            given = self.headers.get("X-MLflow-Signature", "")
            expected = mlflow_signature(secret, delivery, timestamp, body)
            return hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode())

        def _answer(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
            self.close_connection = True
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            _log.debug("door: " + format, *args)

    return Handler
