"""Servers and fixtures shared by the tests of the device."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from tests.edge_agent.publisher import Publisher
from tests.edge_agent.running_agent import Device
from tests.edge_agent.servers import Broker, Seaweed, remove


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    """An S3 server with the device's buckets and the identities of two devices."""
    server = Seaweed(tmp_path_factory.mktemp("seaweed"))
    server.start()
    try:
        server.make_buckets()
        yield server
    finally:
        server.stop()
        remove(server.folder / "data")


@pytest.fixture
def broker(tmp_path):
    """An MQTT broker: the one of the stack on one machine."""
    server = Broker(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["amqtt-3.1.1", "mosquitto-3.1.1", "mosquitto-5"])
def any_broker(request, tmp_path):
    """An MQTT broker: the one of the stack, which speaks 3.1.1 only, then the one that factories run."""
    program, protocol = request.param.split("-")
    if program == "mosquitto":
        program = mosquitto_program()
    server = Broker(tmp_path, program, protocol=protocol)
    server.start()
    yield server
    server.stop()


def mosquitto_program() -> str:
    """Debian's broker, or a skip."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("no mosquitto on this machine; Debian: apt-get install mosquitto")
    return found


@pytest.fixture
def fast_folder(tmp_path):
    """In memory where there is such a place: what is durable is the test's to say, and fsync is what takes time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="kizu-crash-") as folder:
        yield Path(folder)


@pytest.fixture
def publisher(seaweed):
    """A fresh repository in the real store, put with the signer's identity."""
    admin, store = seaweed.store("admin"), seaweed.store("signer")
    for item in list(admin.list("kizu-releases")):
        admin.delete("kizu-releases", item.key)
    return Publisher(lambda key, data: store.put("kizu-releases", key, data))


@pytest.fixture
def device(tmp_path, seaweed, publisher, broker):
    device = Device(tmp_path / "device", seaweed, publisher.root_bytes, broker)
    yield device
    device.stop(signal.SIGKILL)
