"""Real servers for the device's tests: SeaweedFS with two devices' identities, and an MQTT broker."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from components.stores.objects.s3 import S3ObjectStore
from tests.ports import reserve

BIN = Path(sys.executable).parent
SITE = "plant1"
DEVICES = ("dev1", "dev10")
BUCKETS = ("kizu-raw", "kizu-releases", "kizu-fleet", "kizu-labels")


def free_ports(count: int) -> list[int]:
    """Ports that are free now, with their gRPC neighbours 10000 above, and which no other test process gets."""
    found: list[int] = []
    bases = range(21000, 22768)  # neighbours below the ports that the kernel gives to clients
    for base in random.sample(bases, len(bases)):
        if reserve((base, base + 10000)):
            found.append(base)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


@dataclass
class Seaweed:
    """An S3 server of its own, on loopback."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(4))
    process: subprocess.Popen | None = None
    environment: dict[str, str] = field(default_factory=dict)
    identities: dict[str, list[str]] = field(default_factory=dict)
    """Further fixed ones: name -> actions."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[3]}"

    def keys(self, name: str) -> dict[str, str]:
        return {"access_key": f"key-of-{name}", "secret_key": f"secret-of-{name}"}

    def start(self) -> None:
        identities = {"admin": ["Admin"], "signer": ["Read:kizu-releases", "List:kizu-releases", "Write:kizu-releases"]}
        identities |= self.identities
        for device in DEVICES:
            identities[device] = [
                f"Write:kizu-raw/{SITE}/{device}/*",
                f"Write:kizu-fleet/{device}/*",
                "Read:kizu-releases",
            ]
        config = self.folder / "s3.json"
        entries = []
        for name, actions in identities.items():
            keys = self.keys(name)
            credential = {"accessKey": keys["access_key"], "secretKey": keys["secret_key"]}
            entries.append({"name": name, "actions": actions, "credentials": [credential]})
        config.write_text(json.dumps({"identities": entries}))
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        master, volume, filer, s3 = self.ports
        command = [
            str(BIN / "weed"), "-logtostderr=true", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={master}", "-master.electionTimeout=1s", "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64", f"-volume.port={volume}", "-volume.max=0", "-volume.preStopSeconds=1",
            f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={config}", "-s3.autoCreateBucket=false",
            "-s3.iam.readOnly=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            environment = os.environ | self.environment
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=2).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def store(self, name: str) -> S3ObjectStore:
        """boto3's adapter with one identity."""
        keys = self.keys(name)
        return S3ObjectStore(self.endpoint, "us-east-1", keys["access_key"], keys["secret_key"])

    def make_buckets(self) -> None:
        client = self.store("admin")._client
        for bucket in BUCKETS:
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket="kizu-raw", VersioningConfiguration={"Status": "Enabled"})


@dataclass
class Broker:
    """amqtt or Mosquitto in a process of its own, so that it can be killed and come back on the same port."""

    folder: Path
    program: str = "amqtt"
    protocol: str = "3.1.1"
    settings: str = ""
    """For Mosquitto: lines of its configuration beside the port."""
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen | None = None

    def start(self) -> None:
        config = self.folder / "broker.yaml"
        config.write_text(
            f"""listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{self.port}
    max_connections: 50
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""
        )
        with (self.folder / "broker.log").open("ab") as log:
            command = [str(BIN / "amqtt"), "-c", str(config)]
            if self.program != "amqtt":
                config.write_text(
                    f"user root\nlistener {self.port} 127.0.0.1\n{self.settings or 'allow_anonymous true'}\n"
                )
                command = [self.program, "-c", str(config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError((self.folder / "broker.log").read_text()[-2000:])

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def remove(folder: Path) -> None:
    """The data of a server that has ended."""
    shutil.rmtree(folder, ignore_errors=True)


def wait_for(check, timeout_s: float = 60.0, every_s: float = 0.05):
    """The first true answer of `check`, else an AssertionError."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_s} s; last answer: {answer!r}"
        time.sleep(every_s)
