"""The broker of the component `mosquitto`: its files of the cluster, with a real Mosquitto."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from deploy.k8s.component_secrets import password_line
from tests.certificates import Authority
from tests.components.servers import free_port
from tests.manifests.rendered import render

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto on this machine")
OVERLAY = "local+ingress-tls+monitoring+mosquitto+edge-daemonset+gpu+kueue+backup"


@pytest.fixture
def broker(tmp_path):
    """Port and authority of a broker with the accounts line1 and line, from the ConfigMap and the Secret's lines."""
    data = next(d for d in render(OVERLAY) if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "mosquitto")["data"]
    authority, port = Authority(tmp_path, "plant"), free_port()
    certificate, key = authority.issue("localhost")
    text = data["mosquitto.conf"].replace("listener 8883", f"listener {port} 127.0.0.1")
    for inside, here in (
        ("/tls/tls.crt", certificate), ("/tls/tls.key", key), ("/passwords/passwords", tmp_path / "passwords"),
        ("/config/acl", tmp_path / "acl"), ("/data/", f"{tmp_path}/"),
    ):  # fmt: skip
        assert inside in text
        text = text.replace(inside, str(here))
    (tmp_path / "mosquitto.conf").write_text(text)
    (tmp_path / "acl").write_text(data["acl"])
    (tmp_path / "passwords").write_text(password_line("line1", "secret of line1") + password_line("line", "secret"))
    command = [MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")]
    if Path("/proc/self").stat().st_uid == 0:  # it would become another user, which may not read these files
        (tmp_path / "mosquitto.conf").write_text(text + "user root\n")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield port, authority.file
    finally:
        process.terminate()
        process.wait(20)


class Client:
    """One connection. code: what the broker said to it."""

    def __init__(self, broker, account, password):
        port, authority = broker
        self.connected, self.heard, self.code = threading.Event(), threading.Event(), ""
        self.payload = b""
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if account:
            self.client.username_pw_set(account, password)
        self.client.tls_set(str(authority), cert_reqs=ssl.CERT_REQUIRED)
        self.client.on_connect = self._said
        self.client.on_message = self._message
        for _ in range(100):
            try:
                self.client.connect("localhost", port)
                break
            except ConnectionRefusedError:  # it starts
                time.sleep(0.1)
        self.client.loop_start()
        assert self.connected.wait(30)

    def _said(self, _client, _data, _flags, reason, _properties):
        self.code = str(reason)
        self.connected.set()

    def _message(self, _client, _data, message):
        self.payload = message.payload
        self.heard.set()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_a_device_writes_below_its_own_name_only_and_nobody_enters_without_a_password(broker):
    """Over TLS, with the lines that `kizu cluster secrets` makes. The line reads what every device says."""
    strangers = [Client(broker, account, "wrong") for account in ("", "line1")]
    assert {stranger.code for stranger in strangers} == {"Not authorized"}
    line, device = Client(broker, "line", "secret"), Client(broker, "line1", "secret of line1")
    subscribed = threading.Event()
    line.client.on_subscribe = lambda *_: subscribed.set()
    line.client.subscribe("kizu/#", qos=1)
    assert subscribed.wait(30)
    device.client.publish("kizu/factory/line2/results", b"of another", qos=1).wait_for_publish(30)
    device.client.publish("kizu/factory/line1/results", b"own", qos=1).wait_for_publish(30)
    assert line.heard.wait(30)
    assert line.payload == b"own"  # the other one, which was sent first, was dropped
    for client in (*strangers, line, device):
        client.close()
