"""A broker that asks who is there: TLS, accounts and client certificates, with Mosquitto."""

from __future__ import annotations

import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_agent.config import Mqtt, Tls
from edge_agent.errors import ConfigError
from edge_agent.outbox import Outbox
from edge_agent.result_publisher import ResultPublisher
from tests.edge_agent.conftest import mosquitto_program
from tests.edge_agent.servers import Broker, wait_for
from tests.edge_agent.test_outbox import LIMITS


class Authority:
    """A plant's own certificate authority, with what it signs as PEM files in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        certificate = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(True, None), True)
        self.file.write_bytes(certificate.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for a host or a device."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
        certificate = self._builder(subject, key).add_extension(alternative, False).sign(self.key, hashes.SHA256())
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        files[1].chmod(0o600)
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )


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
    """`connected`, or the problem that the publisher settles on."""
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
    """And its absence does not."""
    broker = secured("require_certificate true\nuse_identity_as_username true\nallow_anonymous false")
    certificate, key = authority.issue("dev1")
    tls = Tls(ca_file=authority.file, certificate_file=certificate, key_file=key)
    assert outcome(tmp_path, port=broker.port, protocol=protocol, tls=tls) == "connected"
    assert outcome(tmp_path, port=broker.port, protocol=protocol, tls=Tls(ca_file=authority.file)) != "connected"


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_wrong_password_is_told_and_the_right_one_opens(tmp_path, authority, secured, protocol):
    """Over TLS, so that it does not travel in the clear."""
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
    """The account stays here."""
    broker = secured("allow_anonymous true")
    other = Authority(tmp_path, "other-ca")
    problem = outcome(tmp_path, port=broker.port, tls=Tls(ca_file=other.file))
    assert "certificate" in problem.lower()


def test_a_readable_key_or_a_missing_file_is_refused_at_the_start(tmp_path, authority):
    """With the file's name."""
    certificate, key = authority.issue("dev1")
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ResultPublisher(outbox, Mqtt(host="h", tls=Tls(certificate_file=certificate, key_file=key)), "s", "d")
    with pytest.raises(ConfigError, match="nowhere"):
        ResultPublisher(outbox, Mqtt(host="h", tls=Tls(ca_file=tmp_path / "nowhere")), "s", "d")
    outbox.close()
