"""The compose file of the edge agent, brought up by compose itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.deployment import keys
from components.enrolment.bundle import CONFIG_FILE, CREDENTIALS_FILE, ROOT_FILE
from tests.containers.docker_engine import REPOSITORY, Docker
from tests.edge_agent.servers import free_ports

pytestmark = pytest.mark.containers

FILE = REPOSITORY / "deploy" / "edge" / "compose.yaml"
USER = 10001


def compose_command(docker: Docker) -> list[str]:
    """Compose as a plugin of docker, or as a command of its own."""
    plugin = subprocess.run([docker.command, "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return [docker.command, "compose"]
    command = shutil.which("docker-compose")
    if command is None:
        pytest.skip("no docker compose on this machine")
    return [command]


class Device:
    """One device of the compose file, with a bundle of its own and no store that answers."""

    def __init__(self, docker: Docker, image: str, folder: Path) -> None:
        self.docker = docker
        self.name = f"kizu-test-{uuid.uuid4().hex[:8]}"
        self.port = free_ports(1)[0]
        bundle, camera = folder / "bundle", folder / "camera"
        camera.mkdir()
        bundle.mkdir()
        (bundle / CONFIG_FILE).write_text(
            "{device: line7, group: line, site: plant1, use_case: tag, state_folder: state, "
            "cameras: [{source: folder, path: /camera}], "
            f"s3: {{endpoint: 'http://127.0.0.1:9', credentials_file: {CREDENTIALS_FILE}}}, "
            f"root_metadata: {ROOT_FILE}, page: {{port: {self.port}}}}}"
        )
        (bundle / CREDENTIALS_FILE).write_text('{"access_key": "a", "secret_key": "b"}')
        keys.init(folder / "root-key", folder / "signer-keys")
        shutil.copy(folder / "signer-keys" / ROOT_FILE, bundle)
        for path in (bundle, camera, *bundle.iterdir()):
            os.chown(path, USER, USER)
            path.chmod(0o700 if path.is_dir() else 0o600)
        self.environment = os.environ | {
            "KIZU_EDGE_IMAGE": image, "KIZU_EDGE_BUNDLE": str(bundle), "KIZU_EDGE_CAMERA": str(camera),
            "KIZU_EDGE_PAGE_PORT": str(self.port),
        }  # fmt: skip
        self.command = [*compose_command(docker), "--project-name", self.name, "--file", str(FILE)]

    def compose(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def inspect(self) -> dict:
        return json.loads(self.docker.run("inspect", self.container))[0]

    @property
    def container(self) -> str:
        return self.compose("ps", "-q", "edge").strip()


@pytest.fixture
def device(docker: Docker, images: dict[str, str], tmp_path: Path) -> Iterator[Device]:
    if os.getuid() != 0:
        pytest.skip("only root can give a bundle to user 10001")
    device = Device(docker, images["edge"], tmp_path)
    try:
        yield device
    finally:
        device.compose("down", "--volumes", "--timeout", "5")


def test_compose_runs_a_device_that_is_healthy_without_a_network_and_stops_in_order(device: Device) -> None:
    """Read-only, without capabilities, not as root; its state is in the volume; its page on loopback alone."""
    device.compose("up", "--detach")
    deadline = time.monotonic() + 120
    while device.inspect()["State"]["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, device.docker.run("logs", device.container)
        time.sleep(1)
    host = device.inspect()["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Memory"]) == (True, ["ALL"], 512 * 2**20)
    assert device.docker.run("exec", device.container, "id", "-u") == str(USER)
    assert "operator.token" in device.docker.run("exec", device.container, "ls", "/state")
    device.compose("stop")
    assert device.inspect()["State"]["ExitCode"] == 0
