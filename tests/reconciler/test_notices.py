"""Notices: their words, and the ways by which they reach people. The servers are small ones in this process."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from contextlib import suppress
from email import message_from_bytes, policy

import httpx
import pytest

from components.settings import Settings, SettingsError
from reconciler.notices import message_of
from reconciler.notifier import (
    SIGNATURE_HEADER,
    AllWays,
    MailNotifier,
    MailServer,
    NoticeError,
    WebhookNotifier,
    notifier_of,
    signature_of,
)
from reconciler.view import Notice, Topic
from tests.certificates import Authority

VALUES = {
    Topic.GATE_FAILED: {"run": "r5", "experiment": "7"},
    Topic.WAITS_FOR_APPROVAL: {"version": "4", "run": "r4"},
    Topic.GAVE_UP: {"pipeline": "training", "why": "no disk"},
    Topic.ROLLOUT_STOPPED: {"version": "4", "group": "line", "why": "two of five refused"},
    Topic.ROLLOUT_PAUSED: {"version": "4", "group": "line", "why": "the figures do not tell"},
    Topic.SOFTWARE_STOPPED: {"agent": "0.2.0", "group": "line", "why": "two of five refused"},
    Topic.SOFTWARE_PAUSED: {"agent": "0.2.0", "group": "line", "why": "no device can take it"},
    Topic.DRIFT: {"device": "line-1", "what": "brightness 112 → 88"},
}


def notice(topic: Topic = Topic.WAITS_FOR_APPROVAL, language: str = "en") -> Notice:
    return Notice("metal-tag", language, topic, "s", VALUES[topic])


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("topic", list(Topic))
def test_each_topic_has_words_in_both_languages_and_a_link(topic, language):
    """No sentence has a place that nothing fills, and a title is one line."""
    message = message_of(notice(topic, language), "https://models.example/")
    assert "metal-tag" in message.title
    assert "{" not in message.title + message.text
    assert "\n" not in message.title
    assert any(ord(character) > 0x3000 for character in message.text) == (language == "ja")
    expected = "#/experiments/7/runs/r5" if topic is Topic.GATE_FAILED else "#/models/metal-tag"
    assert message.link.startswith(f"https://models.example/{expected}")
    assert message_of(notice(topic, language), "").link == ""


def test_a_webhook_gets_the_message_as_json_with_a_signature():
    """The receiver can check with the secret that the body is ours, as it came."""
    taken = []
    transport = httpx.MockTransport(lambda request: (taken.append(request), httpx.Response(204))[1])
    message = message_of(notice(language="ja"), "https://models.example")
    WebhookNotifier("https://hooks.example/kizu", "the-secret", transport=transport).send(message)
    (request,) = taken
    assert request.headers[SIGNATURE_HEADER] == signature_of("the-secret", request.content)
    body = json.loads(request.content)
    assert (body["schema_version"], body["topic"], body["title"]) == (1, "waits-for-approval", message.title)
    assert body["link"] == "https://models.example/#/models/metal-tag/versions/4"
    WebhookNotifier("https://hooks.example/kizu", transport=transport).send(message)
    assert SIGNATURE_HEADER not in taken[1].headers


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_does_not_take_it_is_an_error_without_its_address(status):
    """The address may hold a token. A redirect is not followed: it would carry the message elsewhere."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers={"Location": "https://elsewhere.example"}))
    with pytest.raises(NoticeError, match=str(status)) as caught:
        WebhookNotifier("https://hooks.example/T0KEN", "the-secret", transport=transport).send(
            message_of(notice(), "")
        )  # fmt: skip
    assert "T0KEN" not in str(caught.value)


class Post(threading.Thread):
    """A mail server for one mail: TLS from the beginning (`tls`) or on request (`starttls`), and one account."""

    def __init__(self, context: ssl.SSLContext, tls: str, *, refuse: bool = False) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.context, self.tls, self.refuse = context, tls, refuse
        self.said: list[str] = []
        self.encrypted_at_login = False
        self.mail = b""

    def run(self) -> None:
        with self.listener, self.listener.accept()[0] as plain, suppress(OSError):
            if self.tls == "tls":
                with self.context.wrap_socket(plain, server_side=True) as encrypted:
                    self._talk(encrypted, b"220 post\r\n")
            elif self._talk(plain, b"220 post\r\n"):
                with self.context.wrap_socket(plain, server_side=True) as encrypted:
                    self._talk(encrypted)

    def _talk(self, connection: socket.socket, greeting: bytes = b"") -> bool:
        """Answer commands; returns whether the other side wants TLS now."""
        connection.sendall(greeting)
        encrypted = isinstance(connection, ssl.SSLSocket)
        with connection.makefile("rb") as stream:
            while line := stream.readline():
                command = line.decode().strip()
                self.said.append(command)
                verb = command.split()[0].upper()
                if verb == "STARTTLS":
                    connection.sendall(b"220 go\r\n")
                    return True
                if verb == "DATA":
                    connection.sendall(b"354 go\r\n")
                    while (line := stream.readline()) != b".\r\n":
                        self.mail += line
                self.encrypted_at_login |= verb == "AUTH" and encrypted
                extension = b"AUTH PLAIN" if encrypted else b"STARTTLS"
                answers = {
                    "EHLO": b"250-post\r\n250-" + extension + b"\r\n250 8BITMIME\r\n",
                    "AUTH": b"235 ok\r\n",
                    "RCPT": b"550 nobody of that name\r\n" if self.refuse else b"250 ok\r\n",
                    "QUIT": b"221 bye\r\n",
                }
                connection.sendall(answers.get(verb, b"250 ok\r\n"))
        return False


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path, "plant")


def context_for(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost"))
    return context


def mail_to(post: Post, authority: Authority, *, password: str = "pass-word-1") -> MailNotifier:
    server = MailServer("localhost", post.port, post.tls, "robot", password)
    trusted = ssl.create_default_context(cafile=authority.file)
    return MailNotifier(server, "kizu@factory.example", ["a@x.example", "b@x.example"], context=lambda: trusted)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_mail_is_handed_in_encrypted_with_the_account(authority, tls):
    """Both people get one mail in the language of the use case; the password goes over TLS only."""
    post = Post(context_for(authority), tls)
    post.start()
    mail_to(post, authority).send(message_of(notice(language="ja"), "https://models.example"))
    post.join(10)
    assert post.encrypted_at_login
    login = base64.b64decode(next(line for line in post.said if line.startswith("AUTH")).split()[-1])
    assert login == b"\0robot\0pass-word-1"
    assert sum(line.upper().startswith("RCPT") for line in post.said) == 2
    mail = message_from_bytes(post.mail, policy=policy.default)
    assert mail["Subject"] == "metal-tag: バージョン 4 が承認待ちです"
    assert "https://models.example/#/models/metal-tag/versions/4" in mail.get_content()


def test_a_mail_server_that_refuses_is_an_error_with_its_words_and_no_password(authority):
    """The next pass tries again; the log names the server and what it said."""
    post = Post(context_for(authority), "starttls", refuse=True)
    post.start()
    with pytest.raises(NoticeError, match=rf"localhost:{post.port}") as caught:
        mail_to(post, authority).send(message_of(notice(), ""))
    post.join(10)
    assert "pass-word-1" not in str(caught.value)
    assert "pass-word-1" not in repr(MailServer("h", 1, "tls", "robot", "pass-word-1"))


def test_a_certificate_of_nobody_is_refused_before_the_password_is_sent(authority, tmp_path):
    """Whoever stands between must not read the account."""
    post = Post(context_for(authority), "starttls")
    post.start()
    server = MailServer("localhost", post.port, "starttls", "robot", "pass-word-1")
    with pytest.raises(NoticeError, match=r"CERTIFICATE_VERIFY_FAILED|certificate"):
        MailNotifier(server, "kizu@factory.example", ["a@x.example"]).send(message_of(notice(), ""))
    post.join(10)
    assert not any(line.startswith("AUTH") for line in post.said)


def test_all_ways_are_tried_and_one_that_failed_is_an_error():
    """A mail server that is away does not keep the webhook from being called."""
    taken = []

    class Way:
        def __init__(self, *, fails: bool) -> None:
            self.fails = fails

        def send(self, message):
            if self.fails:
                raise NoticeError("away")
            taken.append(message)

    with pytest.raises(NoticeError, match="away"):
        AllWays([Way(fails=True), Way(fails=False)]).send(message_of(notice(), ""))
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"KIZU_SMTP_HOST": "mail.example"}, "KIZU_NOTIFY_TO"),
        ({"KIZU_NOTIFY_TO": "a@x.example"}, "KIZU_SMTP_HOST"),
        (
            {
                "KIZU_SMTP_HOST": "mail.example",
                "KIZU_NOTIFY_TO": "a@x.example",
                "KIZU_SMTP_TLS": "none",
                "KIZU_SMTP_USERNAME": "robot",
            },
            "KIZU_SMTP_TLS",
        ),
    ],
)
def test_half_a_way_is_refused_by_the_name_of_the_setting(environment, said):
    """A notice that nobody would ever get is an error at the start."""
    with pytest.raises(SettingsError, match=said):
        notifier_of(Settings.from_environment(environment))
    assert notifier_of(Settings.from_environment({})) is None


def test_settings_show_no_secret():
    """A log of the settings holds neither the webhook's address nor a password."""
    environment = {
        "KIZU_NOTIFY_WEBHOOK": "https://hooks.example/T0KEN",
        "KIZU_NOTIFY_SECRET": "s3cr3t",
        "KIZU_SMTP_PASSWORD": "pw1",
    }
    shown = repr(Settings.from_environment(environment))
    assert not any(word in shown for word in ("T0KEN", "s3cr3t", "pw1"))
