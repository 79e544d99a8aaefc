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
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from components.settings import Settings, SettingsError
from components.webhooks.listener import Headers, Hint, HintListener, Page, is_secret
from components.webhooks.receiver import SECRET_HEADER

LABEL_STUDIO_PATH: Final = "/hints/label-studio"
MLFLOW_PATH: Final = "/hints/mlflow"
_MIN_SECRET: Final = 16
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


class Door(HintListener):
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
        hints = {}
        if secrets.label_studio:
            hints[LABEL_STUDIO_PATH] = Hint(
                by_headers=lambda headers: is_secret(headers.get(SECRET_HEADER, ""), secrets.label_studio)
            )
        if secrets.mlflow:
            hints[MLFLOW_PATH] = Hint(by_body=lambda headers, body: _is_mlflow(headers, body, secrets.mlflow, now()))
        pages = {
            "/metrics": lambda: Page(200, metrics(), "text/plain; version=0.0.4; charset=utf-8"),
            "/healthz": lambda: Page(200 if healthy() else 503),
        }
        super().__init__(host.strip("[]"), int(port), "the reconciler's door", hints.get, pages, hinted)


def _is_mlflow(headers: Headers, body: bytes, secret: str, now: float) -> bool:
    timestamp = headers.get("X-MLflow-Timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > _MAX_AGE_S:
        return False
    expected = mlflow_signature(secret, headers.get("X-MLflow-Delivery-Id", ""), timestamp, body)
    return is_secret(headers.get("X-MLflow-Signature", ""), expected)
