"""An agent as it is shipped, in a process of its own, and what people and programs do to it over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import signal
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import yaml

from inspection import Capture, parse_raw_key
from tests.edge_agent.environments import ROOT, edge_python
from tests.edge_agent.servers import SITE, free_ports, wait_for

# Runs the command as the entry point does, and tells at the end what it has loaded.
_WRAPPER = """
import json, sys
from edge_agent.__main__ import main
report = sys.argv.pop(1)
try:
    main()
finally:
    with open(report, "w") as file:
        json.dump(sorted(sys.modules), file)
"""


class Device:
    """A device's folder and its agent."""

    def __init__(self, folder: Path, seaweed, root: bytes, broker=None, name: str = "dev1", **changes) -> None:
        self.folder = folder
        self.camera = folder / "camera"
        self.camera.mkdir(parents=True)
        self.port = free_ports(1)[0]
        credentials = folder / "credentials.json"
        credentials.write_text(json.dumps(seaweed.keys(name)))
        credentials.chmod(0o600)
        (folder / "root.json").write_bytes(root)
        config = {
            "device": name, "group": "line1", "site": SITE, "use_case": "tags",
            "cameras": [{"source": "folder", "path": "camera", "poll_interval_s": 0.05, "settle_s": 0.0}],
            "s3": {"endpoint": seaweed.endpoint, "credentials_file": "credentials.json"},
            "page": {"port": self.port},
            "inference": {"threads": 1},
            "outbox": {"min_free_bytes": 0},
            "intervals": {"update_poll_s": 0.3, "report_s": 2.0},
        } | changes  # fmt: skip
        if broker is not None:
            config["mqtt"] = {"host": "127.0.0.1", "port": broker.port}
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(config))
        self.process: subprocess.Popen | None = None

    def command(self, *arguments: str) -> list[str]:
        return [edge_python(), "-m", "edge_agent", *arguments, "--config", str(self.config)]

    def ask(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60)

    def start(self) -> None:
        command = [edge_python(), "-W", "error", "-c", _WRAPPER, str(self.folder / "modules.json"), "run",
                   "--config", str(self.config)]  # fmt: skip
        self.log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self.log, stderr=self.log)
        wait_for(self.answers, 30)

    def answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError((self.folder / "log").read_text())
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def get(self, path: str, host: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path, headers={"Host": host} if host else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def status(self) -> dict:
        return json.loads(self.get("/status.json")[1])

    def feed(self, name: str, data: bytes) -> None:
        (self.camera / f".{name}").write_bytes(data)
        (self.camera / f".{name}").rename(self.camera / name)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        self.log.close()
        return code


def take(device, publisher, built, **desire):
    publisher.add_release(built)
    publisher.desire(built.digest, **desire)
    wait_for(lambda: device.status()["release"]["running"] == built.digest, 30)
    wait_for(lambda: device.status()["release"]["phase"] == "idle", 30)


def request(device, method, path, body=b"", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", device.port, timeout=20)
    try:
        connection.request(
            method, path, body=body, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def token_of(device) -> str:
    path = device.folder / "state" / "operator.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text().strip()


class Browser:
    """The cookies and forms of somebody who is signed in."""

    def __init__(self, device) -> None:
        self.device = device
        self.cookie = ""

    def post(self, path, fields, **headers):
        return request(
            self.device, "POST", path, urlencode(fields).encode(),
            **{"Content-Type": "application/x-www-form-urlencoded", "Cookie": self.cookie} | headers,
        )  # fmt: skip

    def sign_in(self, token):
        status, _, headers = self.post("/sign-in", {"token": token})
        self.cookie = headers.get("set-cookie", "").partition(";")[0]
        return status, headers

    def csrf(self) -> str:
        page = request(self.device, "GET", "/", Cookie=self.cookie)[1].decode()
        return re.search(r'name="csrf" value="([0-9a-f]+)"', page)[1]


def objections(seaweed) -> list[Capture]:
    store = seaweed.store("admin")
    parsed = ((item.key, parse_raw_key(item.key)) for item in store.list("kizu-raw"))
    keys = [key for key, parts in parsed if parts and parts.capture_id]
    return [capture for key in keys if (capture := Capture.from_json(store.get("kizu-raw", key))).reason == "objection"]
