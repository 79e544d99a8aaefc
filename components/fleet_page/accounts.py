"""Sign-in with the accounts of MLflow's server, and a limit of failed sign-ins for each client."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

ACCOUNT_PATH: Final = "/kizu-approval/account"
"""What the approval server answers to an account with its password."""
MAX_FAILURES: Final = 5
WINDOW_S: Final = 300.0
_MOST_CLIENTS: Final = 10_000
_MAX_TEXT: Final = 300


class AccountsAway(RuntimeError):
    """MLflow's server could not be asked; nobody can sign in until it answers."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in. approves: the models that the account may approve; an administrator may act on every product."""

    name: str
    admin: bool = False
    approves: frozenset[str] = frozenset()

    def may_act_on(self, use_case: str) -> bool:
        """Whether the account may pause, resume or stop a rollout of a product."""
        return self.admin or use_case in self.approves


class MlflowAccounts:
    """Asks MLflow's server, with the name and password that a person typed. It keeps neither."""

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None, timeout_s: float = 20.0) -> None:
        self._url = url.rstrip("/")
        self._transport = transport
        self._timeout_s = timeout_s

    def check(self, name: str, password: str) -> Person | None:
        """Who that is; None where name or password is wrong.

        Raises:
            AccountsAway: the server does not answer, or is not the approval server of this product.
        """
        if not 0 < len(name) <= _MAX_TEXT or not 0 < len(password) <= _MAX_TEXT or ":" in name:
            return None
        try:
            with httpx.Client(transport=self._transport, trust_env=False, timeout=self._timeout_s) as client:
                answer = client.get(self._url + ACCOUNT_PATH, auth=(name, password))
        except (httpx.HTTPError, UnicodeError) as e:
            raise AccountsAway(f"MLflow at {self._url} does not answer: {type(e).__name__}") from e
        if answer.status_code == 401:
            return None
        try:
            if answer.status_code != 200:
                raise ValueError(f"it answered {answer.status_code}")
            return _person(answer.json())
        except (ValueError, KeyError, TypeError) as e:
            raise AccountsAway(f"expected Kizu's approval server at {self._url}, but {e}") from e


def _person(found: dict[str, Any]) -> Person:
    if found["schema_version"] != 1:
        raise ValueError(f"its answer has schema_version {found['schema_version']!r}")
    return Person(str(found["name"]), found["admin"] is True, frozenset(map(str, found["approves"])))


class FailedSignIns:
    """Counts failed sign-ins of each client. Safe to share between threads; it forgets the clients of longest ago.

    A client that failed `MAX_FAILURES` times within `WINDOW_S` waits until the first of them is that old. Other clients
    are not affected.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Seconds until this client may try again; 0: now."""
        now = self._clock()
        with self._lock:
            recent = self._recent(client, now)
            return recent[0] + WINDOW_S - now if len(recent) >= MAX_FAILURES else 0.0

    def begin(self, client: str) -> bool:
        """Count an attempt as failed before it is checked, so that many at once are no more than one after the other.

        Returns:
            Whether the client may try.
        """
        now = self._clock()
        with self._lock:
            recent = self._recent(client, now)
            if len(recent) >= MAX_FAILURES:
                return False
            self._failures[client] = [*recent, now]
            self._failures.move_to_end(client)
            while len(self._failures) > _MOST_CLIENTS:
                self._failures.popitem(last=False)
            return True

    def succeeded(self, client: str) -> None:
        """Forget the failures of a client that signed in."""
        with self._lock:
            self._failures.pop(client, None)

    def not_checked(self, client: str) -> None:
        """Take back the attempt that `begin` counted: nobody could say whether it was right."""
        with self._lock:
            if self._failures.get(client):
                self._failures[client].pop()

    def _recent(self, client: str, now: float) -> list[float]:
        return [at for at in self._failures.get(client, ()) if now - at < WINDOW_S]
