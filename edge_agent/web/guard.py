"""Which requests the web server accepts: a rule over their headers, and the ASGI layer that applies it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SAFE: Final = frozenset({"GET", "HEAD"})
_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
     b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    # With no-referrer, browsers would send `Origin: null` with our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)  # fmt: skip


def refusal(method: str, headers: Mapping[str, str], allowed_hosts: frozenset[str]) -> tuple[int, str] | None:
    """Why a request is refused: status and text; None where it is accepted.

    A page of another site can reach this server through a visitor's browser in two ways. First, by DNS rebinding: it
    lets a name of its own point to this server. A name in `Host` must therefore be known; an address may be any, since
    it cannot be rebound. Second, by sending a form: a request that changes something must therefore not come from
    another origin, as far as the browser says so.
    """
    host = host_name(headers.get("host", ""))
    if host not in allowed_hosts and not _is_address(host):
        return 421, f"unexpected Host {host[:80]!r}; name it under page.allowed_hosts in the configuration\n"
    if method in _SAFE:
        return None
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").strip().lower():
        return 403, "a page of another site may not do this\n"
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return 403, "a page of another site may not do this\n"
    return None


def host_name(header: str) -> str:
    """The name or address in a Host header, without its port."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def is_loopback(address: str) -> bool:
    """Whether an address is a loopback address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


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
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        refused = refusal(scope["method"], Headers(scope=scope), self._allowed)
        if refused is not None:
            status, text = refused
            await PlainTextResponse(text, status_code=status)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)
