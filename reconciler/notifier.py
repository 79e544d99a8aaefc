"""How a notice reaches people: a webhook, and e-mail. The settings name one, both or neither.

A notice counts as sent when every way that is set has taken it. If one way failed, the next pass sends it again by all:
a person rather reads it twice than never. A process that dies between sending and noting that does the same.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import smtplib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from typing import Any, Final, Protocol

import httpx

from components.settings import Settings, SettingsError
from inspection.codec import canonical_json
from reconciler.notices import Message

_log = logging.getLogger(__name__)

SIGNATURE_HEADER: Final = "X-Kizu-Signature"
_TIMEOUT_S: Final = 20.0


class NoticeError(RuntimeError):
    """A notice was not taken. The message names the way and what came back, and no secret."""


class Notifier(Protocol):
    """Sends messages to people."""

    def send(self, message: Message) -> None:
        """Send it.

        Raises:
            NoticeError: it was not taken; the next pass tries again.
        """


def signature_of(secret: str, body: bytes) -> str:
    """`sha256=<hex>`: the HMAC of the body, by which the receiver knows who sent it."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class WebhookNotifier:
    """POSTs the message as JSON. secret: with it, the body is signed in the header `X-Kizu-Signature`."""

    def __init__(self, url: str, secret: str = "", *, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        self._secret = secret
        self._transport = transport

    def send(self, message: Message) -> None:
        """POST it; an answer of 2xx is taken as received. Raises NoticeError."""
        body = canonical_json({"schema_version": 1, **asdict(message)})
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers[SIGNATURE_HEADER] = signature_of(self._secret, body)
        try:
            with httpx.Client(transport=self._transport, timeout=_TIMEOUT_S, follow_redirects=False) as client:
                answer = client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as e:
            raise NoticeError(f"the webhook of KIZU_NOTIFY_WEBHOOK did not answer: {type(e).__name__}") from e
        if not answer.is_success:
            raise NoticeError(f"the webhook of KIZU_NOTIFY_WEBHOOK answered {answer.status_code}, expected 2xx")


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where e-mail is handed in. tls: `starttls`, `tls` or `none`. `repr` hides the password."""

    host: str
    port: int
    tls: str
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port}, {self.tls})"


class MailNotifier:
    """Sends e-mail. context: how the server's certificate is checked; None: as usual."""

    def __init__(
        self,
        server: MailServer,
        sender: str,
        to: Sequence[str],
        *,
        context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._server = server
        self._sender = sender
        self._to = tuple(to)
        self._context = context

    def send(self, message: Message) -> None:
        """Hand it to the mail server. Raises NoticeError where the server refuses it or any of the people."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._sender, ", ".join(self._to), message.title
        mail["Content-Language"] = message.language
        # The same notice has the same id, so that a mailbox may drop the second of two.
        mail["Message-ID"] = f"<{hashlib.sha256(_identity(message)).hexdigest()[:32]}@kizu>"
        mail.set_content(message.body)
        server = self._server
        try:
            with self._connect() as smtp:
                if server.tls == "starttls":
                    smtp.starttls(context=self._context())
                if server.username:
                    smtp.login(server.username, server.password)
                refused = smtp.send_message(mail)
        except (smtplib.SMTPException, OSError) as e:
            raise NoticeError(
                f"the mail server {server.host}:{server.port} did not take the mail: {type(e).__name__}: "
                f"{_said(e)}; check KIZU_SMTP_*"
            ) from e
        if refused:
            raise NoticeError(f"the mail server {server.host}:{server.port} refused {len(refused)} of the addressees")

    def _connect(self) -> smtplib.SMTP:
        host, port = self._server.host, self._server.port
        if self._server.tls == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=self._context())
        return smtplib.SMTP(host, port, timeout=_TIMEOUT_S)


class AllWays:
    """Sends by each of several ways. It fails if one of them fails, after all were tried."""

    def __init__(self, ways: Sequence[Notifier]) -> None:
        self._ways = tuple(ways)

    def send(self, message: Message) -> None:
        """Send it by each way. Raises NoticeError that says which did not take it."""
        failures = []
        for way in self._ways:
            try:
                way.send(message)
            except NoticeError as e:
                failures.append(str(e))
        if failures:
            raise NoticeError("; ".join(failures))


def notifier_of(settings: Settings) -> Notifier | None:
    """The ways that the settings name; None where they name none.

    Raises:
        SettingsError: a part of a way is missing.
    """
    ways: list[Notifier] = []
    if settings.notify_webhook:
        secret = settings.notify_secret
        ways.append(
            WebhookNotifier(settings.notify_webhook.get_secret_value(), secret.get_secret_value() if secret else "")
        )
    if settings.smtp_host:
        to = [address.strip() for address in settings.required("notify_to").split(",") if address.strip()]
        password = settings.smtp_password
        server = MailServer(
            settings.smtp_host,
            settings.smtp_port or {"tls": 465, "starttls": 587, "none": 25}[settings.smtp_tls],
            settings.smtp_tls,
            settings.smtp_username or "",
            password.get_secret_value() if password else "",
        )
        if server.username and server.tls == "none":
            raise SettingsError("expected KIZU_SMTP_TLS starttls or tls with KIZU_SMTP_USERNAME, but got none")
        ways.append(MailNotifier(server, settings.smtp_from or to[0], to))
    elif settings.notify_to:
        raise SettingsError("expected KIZU_SMTP_HOST with KIZU_NOTIFY_TO, but it is empty")
    return AllWays(ways) if ways else None


def _identity(message: Message) -> bytes:
    return "\x1f".join((message.use_case, message.topic, message.subject)).encode()


def _said(error: Any) -> str:
    """The server's own words; they hold no password."""
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        return f"{error.smtp_code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"[:300]
    return str(error)[:300]
