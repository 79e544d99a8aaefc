"""The label store behind TLS with an authority of the plant's own."""

import contextlib
import multiprocessing
import socket
import ssl
import threading
import uuid
from urllib.parse import urlsplit

import pytest

from components.stores.labels.store import LabelStore, LabelStoreError
from components.stores.objects.s3 import S3ObjectStore
from tests.certificates import Authority
from tests.components.stores.labels.label_events import event


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _relay(certificate, key, behind, told):
    """A reverse proxy with TLS; tells its port and runs until it is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    told.send(listener.getsockname()[1])

    def connect(plain):
        with contextlib.suppress(OSError):  # a client that does not trust us goes away
            front = context.wrap_socket(plain, server_side=True)
            back = socket.create_connection(behind)
            threading.Thread(target=_pump, args=(back, front), daemon=True).start()
            _pump(front, back)

    while True:
        plain, _ = listener.accept()
        threading.Thread(target=connect, args=(plain,), daemon=True).start()


@pytest.fixture
def secured(installation, tmp_path):
    """The S3 server as a reverse proxy with TLS shows it, and the authority of its certificate.

    A process of its own: deltalake holds Python's lock while it waits for an answer.
    """
    authority = Authority(tmp_path, "plant-ca")
    behind = urlsplit(installation.s3_endpoint)
    context = multiprocessing.get_context("spawn")
    asked, told = context.Pipe()
    arguments = (*map(str, authority.issue("localhost")), (behind.hostname, behind.port), told)
    relay = context.Process(target=_relay, args=arguments, daemon=True)
    relay.start()
    yield f"https://localhost:{asked.recv()}", str(authority.file)
    relay.terminate()
    relay.join(10)


def test_the_plants_own_authority_is_trusted_where_it_is_named_and_only_there(installation, secured):
    """One setting makes the table and the objects trust the plant's authority; without it the table is refused."""
    endpoint, ca_file = secured
    trusting = installation.model_copy(update={"s3_endpoint": endpoint, "s3_ca_file": ca_file})
    labels, use_case = LabelStore.open(trusting), f"u{uuid.uuid4().hex[:8]}"
    labels.append([event(use_case)])
    assert labels.version_at(event(use_case).at) == -1
    assert len(LabelStore.open(installation).events(use_case=use_case)) == 1
    assert S3ObjectStore.from_settings(trusting).exists(
        trusting.bucket("labels"), "events/_delta_log/0" + "0" * 19 + ".json"
    )
    with pytest.raises(LabelStoreError):
        LabelStore.open(installation.model_copy(update={"s3_endpoint": endpoint})).version()
