"""Label Studio's webhooks wake a waiting run. They are hints: a run without webhooks finds the same by polling.

The receiver listens on a loopback address, and only while a run waits. A request counts as a hint if it carries the
secret.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from components.settings import Settings, SettingsError
from components.webhooks.listener import Hint, HintListener, is_secret

_log = logging.getLogger(__name__)

SECRET_HEADER: Final = "X-Kizu-Webhook-Secret"  # noqa: S105 # the name of a header
_MIN_SECRET: Final = 16


@dataclass(frozen=True, slots=True)
class Webhook:
    """The URL that Label Studio calls, and the secret that it sends. `repr` hides the secret."""

    url: str
    secret: str

    def __repr__(self) -> str:
        return f"Webhook({self.url})"


def webhook(settings: Settings) -> Webhook | None:
    """The webhook that the settings name, or None.

    Raises:
        SettingsError: one of its settings is missing or wrong.
    """
    if not settings.webhook_url:
        return None
    secret = settings.required("webhook_secret")
    if len(secret) < _MIN_SECRET:
        raise SettingsError(f"expected KIZU_WEBHOOK_SECRET of at least {_MIN_SECRET} characters, but got {len(secret)}")
    return Webhook(settings.webhook_url, secret)


class HintReceiver(HintListener):
    """Listens on a loopback address until closed. `wait` sleeps, and returns early when a hint comes."""

    def __init__(self, listen: str, secret: str) -> None:
        """listen: address and port, such as `127.0.0.1:8099`; port 0 takes a free port.

        Raises:
            SettingsError: the address is not a loopback address.
            OSError: the port is taken.
        """
        host, port = _address(listen)
        hint = Hint(by_headers=lambda headers: is_secret(headers.get(SECRET_HEADER, ""), secret))
        super().__init__(host, port, "label studio's hints", lambda path: hint)


@contextmanager
def sleeper(settings: Settings, wait_s: float) -> Iterator[Callable[[float], bool | None]]:
    """The function that sleeps while a run waits for people.

    Where the settings name a webhook and an address to listen on, it returns True early when a hint comes. Else, or
    where the port is taken, it is `time.sleep`.
    """
    configured = webhook(settings)
    if configured is None or not settings.webhook_listen or wait_s <= 0:
        yield time.sleep
        return
    try:
        receiver = HintReceiver(settings.webhook_listen, configured.secret)
    except OSError as e:
        _log.warning("no hints on %s (%s); the run polls Label Studio instead", settings.webhook_listen, e)
        yield time.sleep
        return
    with receiver:
        yield receiver.wait


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    try:
        if ip_address(host.strip("[]")).is_loopback and 0 <= int(port) <= 65535:
            return host.strip("[]"), int(port)
    except ValueError:
        pass
    raise SettingsError(f"expected KIZU_WEBHOOK_LISTEN to be a loopback address and a port, but got {listen!r}")
