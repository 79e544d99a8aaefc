"""Brokers that require TLS, accounts or client certificates, with Mosquitto."""

from __future__ import annotations

import subprocess
import threading

import pytest

from edge_agent.config import Mqtt, Tls
from edge_agent.errors import ConfigError
from edge_agent.outbox import Outbox
from edge_agent.result_publisher import ResultPublisher
from tests.certificates import Authority
from tests.edge_agent.conftest import mosquitto_program
from tests.edge_agent.outbox_items import LIMITS
from tests.edge_agent.servers import Broker, wait_for


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "plant-ca")


@pytest.fixture
def secured(tmp_path, authority):
    """Starts a broker with TLS and more lines of configuration."""
    certificate, key = authority.issue("localhost")
    started: list[Broker] = []

    def start(more: str) -> Broker:
        lines = f"cafile {authority.file}\ncertfile {certificate}\nkeyfile {key}\n{more}"
        broker = Broker(tmp_path, mosquitto_program(), settings=lines)
        broker.start()
        started.append(broker)
        return broker

    yield start
    for broker in started:
        broker.stop()


def outcome(tmp_path, **mqtt) -> str:
    """`connected`, or the problem that the publisher reports in the end."""
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    publisher = ResultPublisher(outbox, Mqtt(host="localhost", **mqtt), "plant1", "dev1")
    stop = threading.Event()
    thread = threading.Thread(target=publisher.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: publisher.connected or not publisher.problem.startswith("not connected yet"))
        return "connected" if publisher.connected else publisher.problem
    finally:
        stop.set()
        thread.join(20)
        outbox.close()


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_client_certificate_opens_a_broker_that_asks_for_one(tmp_path, authority, secured, protocol):
    """A broker that asks for a client certificate accepts a client with one and refuses a client without."""
    broker = secured("require_certificate true\nuse_identity_as_username true\nallow_anonymous false")
    certificate, key = authority.issue("dev1")
    tls = Tls(ca_file=authority.file, certificate_file=certificate, key_file=key)
    assert outcome(tmp_path, port=broker.port, protocol=protocol, tls=tls) == "connected"
    assert outcome(tmp_path, port=broker.port, protocol=protocol, tls=Tls(ca_file=authority.file)) != "connected"


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_wrong_password_is_told_and_the_right_one_opens(tmp_path, authority, secured, protocol):
    """Over TLS, a wrong password is reported and the right one connects."""
    passwords = tmp_path / "passwords"
    mosquitto_program()
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "dev1", "right"], check=True, capture_output=True)
    broker = secured(f"allow_anonymous false\npassword_file {passwords}")
    given = {"port": broker.port, "protocol": protocol, "tls": Tls(ca_file=authority.file), "username": "dev1"}
    assert outcome(tmp_path, **given, password="right") == "connected"
    assert "refuses" in outcome(tmp_path, **given, password="wrong")


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_broker_of_another_authority_is_not_spoken_to(tmp_path, secured):
    """The device does not send its account to a broker that it cannot verify."""
    broker = secured("allow_anonymous true")
    other = Authority(tmp_path, "other-ca")
    problem = outcome(tmp_path, port=broker.port, tls=Tls(ca_file=other.file))
    assert "certificate" in problem.lower()


def test_a_readable_key_or_a_missing_file_is_refused_at_the_start(tmp_path, authority):
    """A key that others can read, or a missing file, is refused at the start with an error that names the file."""
    certificate, key = authority.issue("dev1")
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ResultPublisher(outbox, Mqtt(host="h", tls=Tls(certificate_file=certificate, key_file=key)), "s", "d")
    with pytest.raises(ConfigError, match="nowhere"):
        ResultPublisher(outbox, Mqtt(host="h", tls=Tls(ca_file=tmp_path / "nowhere")), "s", "d")
    outbox.close()
