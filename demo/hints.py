"""Rings the reconciler's door for the stand-ins, as the webhooks of Label Studio and MLflow would.

A hint only shortens the wait for the next pass. Where the door does not know the secret, because the servers were
started by somebody else, nothing is lost but time.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from components.stores.objects.whole_file import write_whole
from components.webhooks.receiver import SECRET_HEADER
from deploy.access.layout import LOOPBACK, Layout
from reconciler.door import LABEL_STUDIO_PATH, MLFLOW_PATH, mlflow_signature

_log = logging.getLogger(__name__)
_LABEL_STUDIO: Final = "KIZU_WEBHOOK_SECRET"
_MLFLOW: Final = "KIZU_MLFLOW_WEBHOOK_SECRET"
_TIMEOUT_S: Final = 5.0


class Door:
    """The reconciler's door, and the secrets of its hints. They are kept, so that a later demo knows them too."""

    def __init__(self, layout: Layout) -> None:
        self._url = f"http://{LOOPBACK}:{layout.ports.reconciler}"
        file = layout.home / "demo" / "hints.json"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = {name: secrets.token_urlsafe(32) for name in (_LABEL_STUDIO, _MLFLOW)}
            write_whole(file, json.dumps(made).encode())
            file.chmod(0o600)
        self._secrets: dict[str, str] = json.loads(file.read_bytes())

    @contextmanager
    def in_environment(self) -> Iterator[None]:
        """The secrets are settings of the servers that the block starts, unless the caller has set others."""
        added = {name: value for name, value in self._secrets.items() if name not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                del os.environ[name]

    def labelled(self) -> None:
        """Somebody has finished something in Label Studio."""
        self._ring(LABEL_STUDIO_PATH, b"{}", {SECRET_HEADER: self._secrets[_LABEL_STUDIO]})

    def approved(self) -> None:
        """Somebody has approved a model in MLflow."""
        delivery, at, body = uuid.uuid4().hex, str(int(time.time())), b"{}"
        signature = mlflow_signature(self._secrets[_MLFLOW], delivery, at, body)
        headers = {"X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": at, "X-MLflow-Signature": signature}
        self._ring(MLFLOW_PATH, body, headers)

    def _ring(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        try:
            answer = httpx.post(self._url + path, content=body, headers=headers, timeout=_TIMEOUT_S, trust_env=False)
        except httpx.HTTPError as e:
            _log.info("the reconciler's door does not answer (%s); its next pass finds the same", e)
            return
        if answer.is_error:
            _log.info("the reconciler's door answered %d; its next pass finds the same", answer.status_code)
