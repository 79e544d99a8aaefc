"""Which requests the fleet page accepts: a rule over their headers, and the ASGI layer that applies it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SAFE: Final = frozenset({"GET", "HEAD"})
_PROBES: Final = frozenset({"/healthz", "/livez", "/metrics"})
"""What a kubelet and Prometheus ask, by whatever name they know the pod; the answers hold no secret and no form."""
_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
     b"form-action 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    # With no-referrer, browsers would send `Origin: null` with our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)  # fmt: skip


def refusal(method: str, path: str, headers: Mapping[str, str], allowed: frozenset[str]) -> tuple[int, str] | None:
    """Why a request is refused: status and text; None where it is accepted.

    A page of another site can reach this server through a visitor's browser: by a name of its own that points here, so
    a name in `Host` must be known; or by sending a form, so a request that changes something must not come from
    another origin, as far as the browser says so. An address in `Host` cannot be pointed elsewhere.
    """
    if path in _PROBES and method in _SAFE:
        return None
    host = _host_name(headers.get("host", ""))
    if host not in allowed and not _is_address(host):
        return 421, f"unexpected Host {host[:80]!r}; name it in KIZU_FLEET_PAGE_HOSTS\n"
    if method in _SAFE:
        return None
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").strip().lower():
        return 403, "a page of another site may not do this\n"
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return 403, "a page of another site may not do this\n"
    return None


def _host_name(header: str) -> str:
    name = header.strip().lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Guard:
    """Applies `refusal`, and adds security headers to every answer."""

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str]) -> None:
        self._app = app
        self._allowed = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        refused = refusal(scope["method"], scope["path"], Headers(scope=scope), self._allowed)
        if refused is not None:
            status, text = refused
            await PlainTextResponse(text, status_code=status)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)
