"""One contract for both S3 clients, boto3 in the components and minio on the device, on a real server."""

from __future__ import annotations

import hashlib
import time
import uuid

import pytest
from pydantic import SecretStr

import components.stores.objects.s3 as components_store
import edge_agent.errors as edge_errors
import edge_agent.object_store as edge_store
from edge_agent.config import Credentials
from tests.edge_agent.edge_adapter import edge_adapter
from tests.edge_agent.servers import DEVICES, SITE, Seaweed

RAW = "kizu-raw"


class Adapter:
    def __init__(self, kind: str, seaweed: Seaweed) -> None:
        self.kind = kind
        self.seaweed = seaweed
        errors = components_store if kind == "components" else edge_errors
        self.not_found, self.denied = errors.ObjectNotFound, errors.AccessDenied
        self.error = components_store.ObjectStoreError if kind == "components" else edge_errors.StoreError

    def store(self, name: str = "admin"):
        return self.seaweed.store(name) if self.kind == "components" else edge_adapter(self.seaweed, name)


@pytest.fixture(params=["components", "edge_agent"])
def adapter(request, seaweed):
    return Adapter(request.param, seaweed)


@pytest.fixture
def key():
    return f"{SITE}/dev1/2026/01/01/{uuid.uuid4()}"


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_what_is_put_is_got(adapter, key, data):
    """An object of any size is read as it was written; the last write wins."""
    store = adapter.store()
    assert store.put(RAW, key, b"before") is True
    assert store.put(RAW, key, data) is True
    assert store.get(RAW, key) == data


@pytest.mark.parametrize("name", ["with space.png", "傷 01.png", "a+b&c=d%20.png", "päth/ü.json"])
def test_any_name_is_a_key(adapter, key, name):
    """An object is read back under a key with any characters, although the signature depends on the key's encoding."""
    store = adapter.store()
    store.put(RAW, f"{key}/{name}", b"1")
    assert store.get(RAW, f"{key}/{name}") == b"1"


def test_put_if_absent_writes_once(adapter, key):
    """The second write answers False and changes nothing."""
    store = adapter.store()
    assert store.put(RAW, key, b"first", if_absent=True) is True
    assert store.put(RAW, key, b"second", if_absent=True) is False
    assert store.get(RAW, key) == b"first"


def test_the_content_type_is_kept_and_nothing_else_is_added(adapter, key):
    """The content type is kept, and the write's condition, a header of the request, adds no metadata to the object."""
    adapter.store().put(RAW, key, b"1", if_absent=True, content_type="image/png")
    head = adapter.seaweed.store("admin")._client.head_object(Bucket=RAW, Key=key)
    assert (head["ContentType"], head["Metadata"]) == ("image/png", {})


def test_a_missing_object_is_not_found(adapter, key):
    """A missing object raises an error of its own, which names the key."""
    with pytest.raises(adapter.not_found, match=key):
        adapter.store().get(RAW, key)


def test_a_missing_bucket_is_not_taken_for_a_missing_object(adapter, key):
    """The error names the bucket and is none that a caller takes for "nothing there yet"."""
    with pytest.raises(adapter.error, match=r"kizu-none.*there is no such bucket") as caught:
        adapter.store().get("kizu-none", key)
    assert not isinstance(caught.value, adapter.not_found)


def test_a_wrong_key_is_denied(adapter, key):
    """A wrong secret key is refused with an error that does not show the key."""
    adapter.seaweed.keys = lambda name: {"access_key": "nobody", "secret_key": "wrong-secret"}
    try:
        with pytest.raises(adapter.denied) as caught:
            adapter.store().get(RAW, key)
    finally:
        del adapter.seaweed.keys
    assert "wrong-secret" not in str(caught.value)


def test_a_device_may_do_its_own_part_and_nothing_else(adapter, key):
    """A device may put below its own prefix; it may not get, list, or use a prefix that begins with its name."""
    store = adapter.store("dev1")
    assert store.put(RAW, key, b"mine", if_absent=True) is True
    assert store.put(RAW, key, b"mine", if_absent=True) is False
    assert store.put("kizu-fleet", "dev1/reported.json", b"{}") is True
    refused = [
        lambda: store.get(RAW, key),
        lambda: store.put(RAW, f"{SITE}/dev10/2026/01/01/x", b"1"),
        lambda: store.put(RAW, f"{SITE}/dev1x", b"1"),
        lambda: store.put(RAW, "other/dev1/x", b"1"),
        lambda: store.put(RAW, f"{SITE}/dev1/../dev10/x", b"1"),
        lambda: store.put("kizu-fleet", "dev10/reported.json", b"{}"),
        lambda: store.put("kizu-releases", "metadata/timestamp.json", b"{}"),
        lambda: store.put("kizu-labels", "x", b"1"),
        lambda: store.get("kizu-labels", "x"),
    ]
    for number, attempt in enumerate(refused):
        with pytest.raises(adapter.error):
            assert attempt() is None, f"attempt {number} was allowed"
    other = adapter.seaweed.store("admin")
    assert not [item.key for item in other.list(RAW, f"{SITE}/{DEVICES[1]}/")]


def test_parts_of_an_object_can_be_read(seaweed, key):
    """A range of an object and a stream of it give the right bytes, so that a download can be resumed."""
    store = edge_adapter(seaweed, "admin")
    store.put(RAW, key, bytes(range(100)))
    assert store.get_range(RAW, key, 10, 5) == bytes(range(10, 15))
    assert store.get_range(RAW, key, 95, 50) == bytes(range(95, 100))
    digest = hashlib.sha256()
    for piece in store.stream(RAW, key):
        digest.update(piece)
    assert digest.digest() == hashlib.sha256(bytes(range(100))).digest()


def test_a_server_that_is_not_there_is_unavailable_soon(seaweed):
    """The error comes within seconds, since the caller decides how often to try again."""
    store = edge_adapter(seaweed, "dev1", "http://127.0.0.1:1")
    start = time.monotonic()
    with pytest.raises(edge_errors.StoreUnavailable, match=r"127\.0\.0\.1:1"):
        store.put(RAW, "x", b"1")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8333", "ftp://x", "http://", "http://x/path"])
def test_an_endpoint_of_another_form_is_refused(endpoint):
    """An endpoint of another form is refused with an error that says the expected form."""
    with pytest.raises(edge_errors.ConfigError, match="host:port"):
        edge_store.S3ObjectStore(endpoint, "us-east-1", Credentials("a", SecretStr("b")))


def test_a_portal_that_answers_for_the_store_is_unavailable(tmp_path):
    """A network's login page that answers in the store's place counts as an unavailable store."""
    import http.server
    import threading

    class Portal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>please <b>log in"
            self.send_response(511)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET

        def log_message(self, *_) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Portal) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        store = edge_store.S3ObjectStore(
            f"http://127.0.0.1:{server.server_port}", "us-east-1", Credentials("a", SecretStr("b"))
        )
        with pytest.raises(edge_errors.StoreUnavailable):
            store.get(RAW, "x")
        server.shutdown()
        thread.join()
