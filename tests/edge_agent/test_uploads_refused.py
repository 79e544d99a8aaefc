"""A store that refuses: one refused key holds up nothing, new keys are taken, and no answer fills the memory."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager

import pytest
from pydantic import SecretStr, ValidationError

from edge_agent.config import S3, Credentials, load_credentials
from edge_agent.errors import AccessDenied, StoreRefuses, StoreUnavailable
from edge_agent.object_store import S3ObjectStore
from edge_agent.outbox import Outbox
from edge_agent.uploader import Uploader
from tests.edge_agent.outbox_items import LIMITS, image, put
from tests.edge_agent.stores import MemoryStore


class Refusing(MemoryStore):
    """A store that refuses some keys, as one does whose rights end at a prefix."""

    def __init__(self, refused: set[str]) -> None:
        super().__init__()
        self.refused = refused
        self.tried = 0

    def put(self, bucket, key, data, **kind):
        self.tried += 1
        if key in self.refused:
            raise AccessDenied(f"put s3://{bucket}/{key}: refused for this device's identity")
        return super().put(bucket, key, data, **kind)


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    yield outbox
    outbox.close()


def test_one_refused_key_waits_and_the_others_are_sent(outbox):
    """It is shown, and tried again by itself until the store takes it or it is too old."""
    clock = [100.0]
    for number in range(5):
        put(outbox, number)
    store = Refusing({image(0).key})
    uploader = Uploader(outbox, store, "kizu-raw", clock=lambda: clock[0])
    for _ in range(40):
        uploader.send_next()
        clock[0] += 0.5
    assert [item.image_key for item in outbox.images(10)] == [image(0).key]
    assert "that wait: 1 (put s3://" in uploader.problem
    store.refused.clear()
    clock[0] += 600.0
    assert uploader.send_next() is True
    assert outbox.images(10) == []
    assert uploader.problem == ""


def test_after_a_refusal_an_image_that_was_never_refused_is_tried_first(outbox):
    """It says whether the store refuses one image or all; the refused one may be due at the same moment."""
    clock = [100.0]
    for number in range(2):
        put(outbox, number)
    uploader = Uploader(outbox, Refusing({image(0).key}), "kizu-raw", clock=lambda: clock[0])
    uploader.send_next()
    clock[0] += 1.0
    uploader.send_next()
    assert [item.image_key for item in outbox.images(10)] == [image(0).key]


def test_a_store_that_refuses_everything_is_not_hammered(outbox):
    """While nothing is taken, images are tried one at a time, with pauses."""
    clock = [100.0]
    for number in range(30):
        put(outbox, number)
    store = Refusing({image(number).key for number in range(30)})
    uploader = Uploader(outbox, store, "kizu-raw", clock=lambda: clock[0])
    for _ in range(600):
        uploader.send_next()
        clock[0] += 0.1
    assert store.tried < 25
    assert outbox.depth()["uncertain"] == 30
    store.refused.clear()
    clock[0] += 600.0
    while uploader.send_next():
        clock[0] += 0.1
    assert outbox.depth()["uncertain"] == 0


def test_a_refused_image_that_the_outbox_dropped_is_no_longer_counted(outbox):
    """The page says what waits, not what waited."""
    clock = [100.0]
    put(outbox, 0)
    uploader = Uploader(outbox, Refusing({image(0).key}), "kizu-raw", clock=lambda: clock[0])
    uploader.send_next()
    assert uploader.problem
    outbox.drop(outbox.next_image(), "too old")
    clock[0] += 600.0
    assert uploader.send_next() is False
    assert uploader.problem == ""


# -- the client, against a server that answers as a test wants -----------------------------------------------------


@contextmanager
def serving(answer):
    """A server on loopback; `answer(request)` gives status, body and headers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body, headers = answer(self)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.server.gave_up = True

        do_PUT = do_GET

        def log_message(self, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def error_body(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()


def client(server, **options) -> S3ObjectStore:
    endpoint = f"http://127.0.0.1:{server.server_port}"
    return S3ObjectStore(endpoint, "us-east-1", Credentials("old", SecretStr("old-secret")), **options)


def test_keys_are_read_again_when_the_store_refuses_them(tmp_path):
    """An administrator replaced the file: the next request goes with the new key, without a restart."""
    path = tmp_path / "credentials.json"

    def answer(request):
        if "Credential=new/" in request.headers["Authorization"]:
            return 200, b"", {"ETag": '"x"'}
        return 403, error_body("InvalidAccessKeyId"), {"Content-Type": "application/xml"}

    with serving(answer) as server:
        store = client(server, reread=lambda: load_credentials(path))
        with pytest.raises(AccessDenied):
            store.put("kizu-raw", "a", b"1")  # there is no file yet: what holds stays
        path.write_text(json.dumps({"access_key": "new", "secret_key": "new-secret"}))
        path.chmod(0o600)
        assert store.put("kizu-raw", "a", b"1") is True


@pytest.mark.parametrize(
    ("status", "body"), [(400, error_body("KeyTooLongError")), (413, b"<html>Request Entity Too Large")]
)
def test_a_request_that_the_store_does_not_take_is_told_from_an_outage(status, body):
    """The same request would be refused for ever; others may be taken."""
    headers = {"Content-Type": "text/html" if status == 413 else "application/xml"}
    with serving(lambda _: (status, body, headers)) as server, pytest.raises(StoreRefuses, match="does not take it"):
        client(server).put("kizu-raw", "a", b"1")


@pytest.mark.parametrize("status", [429, 503])
def test_a_store_that_is_busy_is_an_outage(status):
    """A later try of the same request may succeed."""
    headers = {"Content-Type": "application/xml"}
    with serving(lambda _: (status, error_body("SlowDown"), headers)) as server, pytest.raises(StoreUnavailable):
        client(server).put("kizu-raw", "a", b"1")


def test_an_answer_longer_than_the_range_is_refused_before_it_is_read():
    """A proxy that ignores the header Range would send a whole model, again and again, into memory."""
    with serving(lambda _: (200, b"x" * 30_000_000, {})) as server, pytest.raises(StoreUnavailable, match="Range"):
        client(server).get_range("kizu-releases", "model", 0, 1000)


def test_an_answer_from_the_beginning_is_no_answer_to_a_later_range():
    """Its length may fit by chance; its bytes are others."""
    with serving(lambda _: (200, b"x" * 500, {})) as server, pytest.raises(StoreUnavailable, match="Range"):
        client(server).get_range("kizu-releases", "model", 4000, 1000)


def test_the_store_is_reached_through_a_forward_proxy():
    """The proxy gets the whole address, which only it can resolve, and the account that it asks for."""
    seen = []

    def answer(request):
        seen.append((request.path, request.headers.get("Proxy-Authorization")))
        return 200, b"", {"ETag": '"x"'}

    with serving(answer) as server:
        proxy = f"http://dev:p%40ss@127.0.0.1:{server.server_port}"
        store = S3ObjectStore(
            "http://s3.plant.invalid:8333", "us-east-1", Credentials("a", SecretStr("b" * 8)), proxy=proxy
        )
        assert store.put("kizu-raw", "a.png", b"1") is True
    assert seen == [("http://s3.plant.invalid:8333/kizu-raw/a.png", "Basic ZGV2OnBAc3M=")]


@pytest.mark.parametrize("proxy", ["proxy.plant:3128", "socks5://proxy:1080", "http://"])
def test_a_proxy_of_another_form_is_refused(proxy, tmp_path):
    """The message says the expected form, and not the password that the value may hold."""
    with pytest.raises(ValidationError, match="expected proxy as"):
        S3(endpoint="http://s3", credentials_file=tmp_path / "c.json", proxy=proxy)
