"""Webhooks as hints: a waiting run wakes early, and nobody else can wake it."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from components.settings import Settings, SettingsError
from components.webhooks.receiver import SECRET_HEADER, HintReceiver, sleeper, webhook

SECRET = "a secret of some length"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 401),
        ({SECRET_HEADER: "another secret"}, b"{}", 401),
        ({SECRET_HEADER: SECRET + "x"}, b"{}", 401),
        ({SECRET_HEADER: SECRET}, b"x" * 70_000, 413),
        ({SECRET_HEADER: SECRET}, b'{"action": "ANNOTATION_CREATED"}', 204),
    ],
)
def test_only_who_knows_the_secret_wakes_it(headers, body, status):
    """A request wakes the run only with the secret, and its body must not be too large."""
    with HintReceiver("127.0.0.1:0", SECRET) as receiver:
        answer = httpx.post(f"http://127.0.0.1:{receiver.port}/", content=body, headers=headers, trust_env=False)
        assert answer.status_code == status
        assert receiver._hinted.is_set() is (status == 204)


def test_a_caller_that_says_nothing_holds_nobody_up():
    """Half a request ends by itself, and another is answered meanwhile."""
    with (
        HintReceiver("127.0.0.1:0", SECRET) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as silent,
    ):
        silent.sendall(b"POST / HTTP/1.1\r\n")
        answer = httpx.post(
            f"http://127.0.0.1:{receiver.port}/", headers={SECRET_HEADER: SECRET}, content=b"", trust_env=False
        )
        assert answer.status_code == 204


@pytest.mark.parametrize("listen", ["0.0.0.0:8099", "192.0.2.1:8099", "8099", "127.0.0.1:http", "localhost:8099"])
def test_it_listens_on_loopback_and_nowhere_else(listen):
    """The address must be a loopback address; a host name is refused, because it may resolve to any address."""
    with pytest.raises(SettingsError, match="KIZU_WEBHOOK_LISTEN"):
        HintReceiver(listen, SECRET)


def test_a_webhook_needs_its_secret():
    """The secret is required, has a minimum length, and is never shown."""
    with pytest.raises(SettingsError, match="KIZU_WEBHOOK_SECRET"):
        webhook(Settings(webhook_url="http://127.0.0.1:1/"))
    with pytest.raises(SettingsError, match="at least 16"):
        webhook(Settings(webhook_url="http://127.0.0.1:1/", webhook_secret="short"))
    assert SECRET not in repr(webhook(Settings(webhook_url="http://127.0.0.1:1/", webhook_secret=SECRET)))


def test_a_port_that_is_taken_leaves_a_run_that_looks_now_and_then(caplog):
    """A second run on the same machine polls instead of listening."""
    with HintReceiver("127.0.0.1:0", SECRET) as other:
        settings = Settings(
            webhook_url="http://127.0.0.1:1/", webhook_secret=SECRET, webhook_listen=f"127.0.0.1:{other.port}"
        )
        with sleeper(settings, 5.0) as sleep:
            assert sleep is time.sleep
    assert "no hints" in caplog.text
