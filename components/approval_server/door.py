"""An ASGI application in front of every route, MLflow's own and Flask's, that refuses unknown writing requests.

MLflow has routes that this product does not use, and each version adds more: jobs, an assistant that runs commands on
the server's machine, gateways, demos. The permissions of accounts decide who may read. A request with any other method
has to match an entry of `_KNOWN`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

_log = logging.getLogger(__name__)

# The same path as in components/stores/models/registry.py. A client asks for it to learn that this door is in place.
APPROVAL_SERVER: Final = "/kizu-approval"

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

    def __init__(self, app: ASGIApp, *, before_write: Callable[[], None]) -> None:
        self._app = app
        self._before_write = before_write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a known request on to MLflow, or answer 403 in MLflow's JSON form.

        A websocket is closed with code 1008. A GET of `APPROVAL_SERVER` is answered here.
        """
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] == APPROVAL_SERVER and scope["method"] == "GET":
            await _answer(send, 200, {"approval_server": 1})
        elif not is_known(scope["method"], scope["path"]):
            _log.warning("refused: %s %s is not known", scope["method"], scope["path"])
            await _refuse(scope, send)
        else:
            if scope["method"] not in _READING:
                self._before_write()
            await self._app(scope, receive, send)


async def _refuse(scope: Scope, send: Send) -> None:
    said = f"this server does not take {scope['method']} {scope['path']}: it could pass the rules of an approval by"
    await _answer(send, 403, {"error_code": "PERMISSION_DENIED", "message": said})


async def _answer(send: Send, status: int, document: Mapping[str, Any]) -> None:
    body = json.dumps(document).encode()
    headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
