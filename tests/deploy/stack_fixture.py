"""Real servers for the tests: SeaweedFS alone (`s3`), or the whole stack (`stack`).

Each is started once a session, on free ports, in a folder that goes away with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from components.deployment import keys
from components.enrolment.port import DeviceIdentity, Key
from components.settings import Settings
from components.stores.objects.s3 import S3ObjectStore
from deploy.access.buckets import ensure_on_this_machine
from deploy.access.identities import REGION, device_identities, environment_for, store_for
from deploy.access.layout import GRPC_OFFSET, REPOSITORY, SEAWEEDFS_OFFSETS, Layout, Ports
from deploy.local import stack as local_stack
from deploy.local.services import seaweedfs
from tests.ports import reserve


@dataclass(frozen=True)
class Servers:
    """What a test needs of them."""

    layout: Layout
    devices: dict[str, Key] = field(default_factory=dict)

    def device(self, name: str, site: str = "factory") -> S3ObjectStore:
        """S3 as an enrolled device sees it; it is enrolled at the first call."""
        if name not in self.devices:
            identity = DeviceIdentity(name, site)
            self.devices[name] = device_identities(self.layout).create(identity, replace=True)
        key = self.devices[name]
        return S3ObjectStore(self.layout.s3_endpoint, REGION, key.access_key, key.secret_key)

    def environment(self, identity: str) -> dict[str, str]:
        """The whole environment of a process with this identity."""
        return environment_for(self.layout, identity)

    def store(self, identity: str) -> S3ObjectStore:
        """S3 as this identity sees it."""
        return store_for(self.layout, identity)

    @contextmanager
    def acting_as(self, identity: str) -> Iterator[None]:
        """MLflow's client in this process has the account of this identity."""
        environment = self.environment(identity)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
                patch.setenv(name, environment[name])
            yield

    def settings(self, identity: str) -> Settings:
        """The settings that a process with this identity would read."""
        names = {name: field.validation_alias.choices[0] for name, field in Settings.model_fields.items()}
        environment = self.environment(identity)
        return Settings(**{name: environment[env] for name, env in names.items() if env in environment})


def free_ports() -> Ports:
    """Ports of which nobody makes use now, and which no other test process gets."""
    # gRPC ports are 10,000 higher and must stay below the ephemeral ones, which begin at 32,768.
    at = 11_000 + os.getpid() % 550 * 20
    while True:
        at = at + 20 if at < 20_960 else 11_000
        s3 = [at + offset + grpc for offset in (0, *SEAWEEDFS_OFFSETS) for grpc in (0, GRPC_OFFSET)]
        others = range(at + 4, at + 3 + len(fields(Ports)))
        if reserve((*s3, *others)):
            return Ports(at, *others)


def make_layout(home: Path) -> Layout:
    venv = Path(os.environ.get("KIZU_LABEL_STUDIO_VENV") or REPOSITORY / ".venv-labelstudio")
    return Layout(home, free_ports(), venv)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """SeaweedFS with the buckets and identities of the design."""
    layout = make_layout(tmp_path_factory.mktemp("s3"))
    service = seaweedfs(layout)
    log = (layout.home / "s3.log").open("wb")
    process = subprocess.Popen(
        list(service.guarded),
        env=dict(service.environment) | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not service.healthy():
            assert process.poll() is None, (layout.home / "s3.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "SeaweedFS did not become healthy within a minute"
            time.sleep(0.1)
        ensure_on_this_machine(layout)
        yield Servers(layout)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """S3, MLflow, Label Studio, the signer and an MQTT broker."""
    layout = make_layout(tmp_path_factory.mktemp("stack"))
    keys.init(layout.home / "root-key", layout.keys)
    local_stack.up(layout)
    try:
        yield Servers(layout)
    finally:
        local_stack.down(layout)
