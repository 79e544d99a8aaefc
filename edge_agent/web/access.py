"""Access to actions that change the device: one token for the operators, and sessions of browsers that sent it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request

from edge_agent.config import require_private
from edge_agent.disk import Disk
from edge_agent.errors import ConfigError
from edge_agent.web.guard import is_loopback

_log = logging.getLogger(__name__)

COOKIE: Final = "kizu_operator"
SESSION_S: Final = 12 * 3600.0
_MAX_SESSIONS: Final = 50
_WAIT_AFTER_FAILURE_S: Final = 1.0
_MAX_WAITING: Final = 8
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


def load_or_make_token(path: Path, disk: Disk) -> str:
    """Read the operator's token; create it at the first start. It is in this file only, never in a log.

    Raises:
        ConfigError: other users may read the file, or the token is too short.
    """
    if not path.exists():
        disk.write(path, f"{secrets.token_urlsafe(18)}\n".encode(), mode=0o600)
        _log.info("made the operator's token: %s", path)
    require_private(path, "it holds the operator's token")
    token = path.read_text(encoding="utf-8").strip()
    if len(token) < 12:
        raise ConfigError(f"expected a token of at least 12 characters in {path}; remove the file to have one made")
    return token


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a browser that sent the token. csrf: its forms carry it, so that no other page can send one."""

    key: str
    csrf: str


class Access:
    """Checks tokens and sessions. A restart ends all sessions. Safe to share between threads.

    A wrong token closes access for nobody: the right one always works, from any client. Guesses are in vain by the
    length of the token; the answer to a wrong one comes late, to its client only.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = hashlib.sha256(token.encode()).digest()
        self._secret = secrets.token_bytes(32)
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, float] = {}
        self._slowed: set[str] = set()

    def sign_in(self, token: str) -> Session | None:
        """A session for the right token; None for a wrong one."""
        if not self._matches(token):
            return None
        now = self._clock()
        with self._lock:
            self._sessions = {key: until for key, until in self._sessions.items() if until > now}
            while len(self._sessions) >= _MAX_SESSIONS:
                del self._sessions[min(self._sessions, key=lambda key: self._sessions[key])]
            key = secrets.token_urlsafe(24)
            self._sessions[key] = now + SESSION_S
        return self._session(key)

    def sign_out(self, key: str) -> None:
        """End a session; no error where there is none."""
        with self._lock:
            self._sessions.pop(key, None)

    def session(self, request: Request) -> Session | None:
        """The session that the cookie of a request names; None where there is none or it has ended."""
        key = request.cookies.get(COOKIE, "")
        with self._lock:
            if self._sessions.get(key, 0.0) <= self._clock():
                return None
        return self._session(key)

    def has_token(self, request: Request) -> bool:
        """Whether a request carries the token itself: `Authorization: Bearer …`."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._matches(token.strip())

    async def slow_down(self, request: Request) -> None:
        """Wait before a wrong token is answered, once at a time for each client, and for a few clients at most.

        Otherwise the waiting requests themselves would use up what the server can hold.
        """
        client = request.client.host if request.client else ""
        with self._lock:
            if client in self._slowed or len(self._slowed) >= _MAX_WAITING:
                return
            self._slowed.add(client)
        try:
            await asyncio.sleep(_WAIT_AFTER_FAILURE_S)
        finally:
            with self._lock:
                self._slowed.discard(client)

    def may_change(self, request: Request, csrf: str) -> bool:
        """Whether a request may change something: it carries the token, or the cookie and the `csrf` of a session."""
        if "authorization" in request.headers:
            return self.has_token(request)
        session = self.session(request)
        return session is not None and hmac.compare_digest(csrf.encode(), session.csrf.encode())

    def _session(self, key: str) -> Session:
        return Session(key, hmac.new(self._secret, key.encode(), "sha256").hexdigest())

    def _matches(self, token: str) -> bool:
        return hmac.compare_digest(hashlib.sha256(token.encode()).digest(), self._token)


def is_local(request: Request) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    return request.client is not None and is_loopback(request.client.host)
