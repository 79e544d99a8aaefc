"""Sessions of people who signed in: a signed cookie, and a word for the forms. A restart ends all sessions."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from components.fleet_page.accounts import Person

COOKIE: Final = "kizu_fleet"
SESSION_S: Final = 8 * 3600.0
_MAX_SESSIONS: Final = 500


@dataclass(frozen=True, slots=True)
class Session:
    """One person's session. cookie: the signed value. csrf: forms carry it, so that no other page can send one."""

    person: Person
    cookie: str
    csrf: str

    def __repr__(self) -> str:
        return f"Session({self.person.name})"


class Sessions:
    """All sessions of this process. Safe to share between threads.

    The cookie is a random id and its signature. What the account may do stays on the server.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._secret = secrets.token_bytes(32)
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Person, float]] = {}

    def begin(self, person: Person) -> Session:
        """A new session for a person who signed in."""
        key, now = secrets.token_urlsafe(24), self._clock()
        with self._lock:
            self._open = {known: entry for known, entry in self._open.items() if entry[1] > now}
            while len(self._open) >= _MAX_SESSIONS:
                del self._open[min(self._open, key=lambda known: self._open[known][1])]
            self._open[key] = (person, now + SESSION_S)
        return self._session(key, person)

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie; None where the signature is wrong, or the session has ended."""
        key, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("cookie", key).encode()):
            return None
        with self._lock:
            person, until = self._open.get(key, (None, 0.0))
        return self._session(key, person) if person is not None and until > self._clock() else None

    def end(self, session: Session) -> None:
        """End a session; its cookie is worth nothing from then on."""
        with self._lock:
            self._open.pop(session.cookie.partition(".")[0], None)

    def _session(self, key: str, person: Person) -> Session:
        return Session(person, f"{key}.{self._sign('cookie', key)}", self._sign("form", key))

    def _sign(self, purpose: str, key: str) -> str:
        return hmac.new(self._secret, f"{purpose} {key}".encode(), hashlib.sha256).hexdigest()


def fits(session: Session, csrf: str) -> bool:
    """Whether a form's word is that of the session."""
    return hmac.compare_digest(csrf.encode(), session.csrf.encode())
