"""An ASGI application in front of every route, MLflow's own and Flask's, that refuses unknown writing requests.

MLflow has routes that this product does not use, and each version adds more: jobs, an assistant that runs commands on
the server's machine, gateways, demos. The permissions of accounts decide who may read. A request with any other method
has to match an entry of `_KNOWN`. Three paths are answered here: `APPROVAL_SERVER`, `ACCOUNT` and `METRICS`.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.approval_server.accounts import AccountsError
from components.approval_server.counts import RequestCounts
from components.metrics_text import CONTENT_TYPE, metrics_text

_log = logging.getLogger(__name__)

# The same path as in components/stores/models/registry.py. A client asks for it to learn that this door is in place.
APPROVAL_SERVER: Final = "/kizu-approval"
# The fleet page asks it who an account is: name and password are those of basic authentication.
ACCOUNT: Final = "/kizu-approval/account"
METRICS: Final = "/metrics"

AccountOf = Callable[[str, str], Mapping[str, Any] | None]
"""From the name and password of an account to what `ACCOUNT` answers; None where the password is wrong."""

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_API: Final = r"/(?:ajax-)?api/[23]\.0"
_KNOWN: Final = tuple(
    (methods, re.compile(pattern))
    for methods, pattern in (
        # The registry: each route is listed by name.
        ({"POST"}, rf"{_API}/mlflow/model-versions/(create|set-tag|transition-stage)"),
        ({"PATCH"}, rf"{_API}/mlflow/model-versions/update"),
        ({"DELETE"}, rf"{_API}/mlflow/model-versions/(delete|delete-tag)"),
        ({"POST"}, rf"{_API}/mlflow/registered-models/(create|rename|set-tag|alias|get-latest-versions)"),
        ({"PATCH"}, rf"{_API}/mlflow/registered-models/update"),
        ({"DELETE"}, rf"{_API}/mlflow/registered-models/(delete|delete-tag|alias)"),
        # Experiments, runs, their metrics and artifacts.
        ({"POST"}, rf"{_API}/mlflow/experiments/[a-z-]+"),
        ({"POST"}, rf"{_API}/mlflow/runs/(create|update|delete|restore|search|set-tag|delete-tag|log-batch|log-inputs|"
                   r"log-metric|log-model|log-parameter|outputs)"),
        ({"POST"}, rf"{_API}/mlflow/logged-models(/search|/[\w-]+/params)?"),
        ({"PATCH", "DELETE"}, rf"{_API}/mlflow/logged-models/[\w-]+(/tags(/[^/]+)?)?"),
        ({"POST"}, rf"{_API}/mlflow/artifacts/presigned-(down|up)load-url"),
        ({"POST"}, rf"{_API}/mlflow/upload-artifact"),
        ({"PUT", "POST", "DELETE"}, rf"{_API}/mlflow-artifacts/(artifacts|mpu/(create|complete|abort)|presigned)/.+"),
        # POST requests of MLflow's pages that change nothing.
        ({"POST"}, r"/graphql"),
        ({"POST"}, rf"{_API}/mlflow/traces/(search|metrics|batchGetInfos|calculate-filter-correlation)"),
        ({"POST"}, rf"{_API}/mlflow/(datasets|issues)/search"),
        ({"POST"}, rf"{_API}/mlflow/ui-telemetry"),
        # Accounts and their permissions. MLflow lets an administrator change them, and each account its own password.
        ({"POST", "PATCH", "DELETE"}, rf"{_API}/mlflow/(users|roles)/[a-z/-]+"),
    )
)  # fmt: skip


def is_known(method: str, path: str) -> bool:
    """Return whether a request may go on to its route. The route then checks which account sent it."""
    return method in _READING or any(method in methods and known.fullmatch(path) for methods, known in _KNOWN)


class Door:
    """An ASGI application in front of MLflow's. before_write: called before each known request that writes."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        before_write: Callable[[], None],
        account_of: AccountOf,
        counts: RequestCounts | None = None,
    ) -> None:
        self._app = app
        self._before_write = before_write
        self._account_of = account_of
        self._counts = counts or RequestCounts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a known request on to MLflow, or answer 403 in MLflow's JSON form. A websocket is closed: code 1008."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts.answered(message["status"], with_password="authorization" in Headers(scope=scope))
            await send(message)

        own = scope["path"] if scope["method"] == "GET" else ""
        if own == APPROVAL_SERVER:
            await _answer(counted, 200, {"approval_server": 1})
        elif own == METRICS:
            await _send(counted, 200, metrics_text(self._counts.metrics()), CONTENT_TYPE)
        elif own == ACCOUNT:
            await self._tell_account(scope, counted)
        elif not is_known(scope["method"], scope["path"]):
            _log.warning("refused: %s %s is not known", scope["method"], scope["path"])
            self._counts.refused()
            await _refuse(scope, counted)
        else:
            if scope["method"] not in _READING:
                self._before_write()
            await self._app(scope, receive, counted)

    async def _tell_account(self, scope: Scope, send: Send) -> None:
        given = _basic(Headers(scope=scope).get("authorization", ""))
        try:
            found = await run_in_threadpool(self._account_of, *given) if given else None
        except AccountsError as e:
            _log.error("cannot say who an account is: %s", e)
            await _answer(
                send, 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "the accounts file is damaged"}
            )
            return
        if found is None:
            await _answer(
                send, 401, {"error_code": "UNAUTHENTICATED", "message": "expected an account and its password"}
            )
        else:
            await _answer(send, 200, found)


def _basic(header: str) -> tuple[str, str] | None:
    """Name and password of a header `Authorization: Basic …`; None where it is another text."""
    kind, _, value = header.partition(" ")
    try:
        name, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if kind.lower() == "basic" and colon and name and password else None


async def _refuse(scope: Scope, send: Send) -> None:
    said = f"this server does not take {scope['method']} {scope['path']}: it could pass the rules of an approval by"
    await _answer(send, 403, {"error_code": "PERMISSION_DENIED", "message": said})


async def _answer(send: Send, status: int, document: Mapping[str, Any]) -> None:
    await _send(send, status, json.dumps(document).encode(), "application/json")


async def _send(send: Send, status: int, body: bytes, kind: str) -> None:
    headers: list[Any] = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
