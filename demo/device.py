"""A device of the demo: its enrolment, its folders, and the agent in its own process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from components.enrolment.bundle import CONFIG_FILE, CREDENTIALS_FILE, Surroundings, enrol, rewrite
from components.enrolment.port import DeviceIdentity, IdentityProvider, Key
from deploy.access.identities import device_identities
from deploy.access.layout import LOOPBACK, REPOSITORY, Layout, base_environment

DEVICE: Final = "line1"
SITE: Final = "factory"
EDGE_PYTHON: Final = REPOSITORY / ".venv-edge" / "bin" / "python"


class DeviceError(RuntimeError):
    """The agent could not be started, or it ended by itself."""


@dataclass(frozen=True, slots=True)
class Device:
    """The files of a device on this machine. bundle: the folder that enrolment wrote. Its state is beside it."""

    name: str
    bundle: Path
    camera: Path
    page: str
    log: Path

    @property
    def config(self) -> Path:
        """The device's configuration file."""
        return self.bundle / CONFIG_FILE


def prepare(layout: Layout, *, use_case: str, group: str, name: str = DEVICE, page_port: int | None = None) -> Device:
    """Enrol a device, or keep its key if it has one, and write its bundle. The store must run.

    page_port: of the operator's page; None: the port of this installation's first device.

    Raises:
        EnrolmentError: the store could not make an identity.
    """
    folder, port = layout.home / "devices" / name, page_port or layout.ports.edge
    device = Device(
        name,
        folder / "bundle",
        folder / "camera",
        f"http://127.0.0.1:{port}",
        layout.logs / f"device-{name}.log",
    )
    device.camera.mkdir(parents=True, exist_ok=True)
    identity = DeviceIdentity(name, SITE)
    surroundings = Surroundings(
        group=group,
        use_case=use_case,
        endpoint=layout.s3_endpoint,
        root=(layout.keys / "root.json").read_bytes(),
        camera_folder="../camera",
        mqtt_host="127.0.0.1",
        mqtt_port=layout.ports.mqtt,
        further={
            "state_folder": "../state",
            "page": {"port": port},
            "intervals": {"update_poll_s": 1.0, "report_s": 2.0},
        },
    )
    provider = device_identities(layout)
    key = _key_that_is_valid(provider, name, device.bundle / CREDENTIALS_FILE)
    if key is None:
        enrol(provider, identity, surroundings, device.bundle, replace=True)
    else:
        rewrite(identity, surroundings, device.bundle, key)
    return device


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _key_that_is_valid(provider: IdentityProvider, name: str, file: Path) -> Key | None:
    try:
        key = Key.from_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    known = {key for device in provider.devices() if device.name == name for key in device.access_keys}
    return key if key.access_key in known else None


class Agent:
    """A running agent: `kizu-edge run` from its own Python environment."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the agent.

        Raises:
            DeviceError: the agent's Python environment is missing.
        """
        if not EDGE_PYTHON.exists():
            raise DeviceError(f"expected the device's environment {EDGE_PYTHON}; make it with: make setup")
        self.device.log.parent.mkdir(parents=True, exist_ok=True)
        with self.device.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(EDGE_PYTHON), "-m", "edge_agent", "run", "--config", str(self.device.config)],
                env=base_environment(),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def check(self) -> None:
        """Raise DeviceError if the agent ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            lines = self.device.log.read_text(errors="replace").splitlines()
            raise DeviceError(
                f"the agent ended with code {code}: {lines[-1] if lines else ''}\n  its log: {self.device.log}"
            )

    def stop(self) -> None:
        """Ask the agent to end, and kill it if it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: if the demo is killed, the kernel ends the agent


def feed(camera: Path, name: str, data: bytes, part_id: str, captured_at: float | None = None) -> None:
    """Put a frame into the camera's folder as a line does: the side-car file first, then the image by atomic rename."""
    side = camera / f".{name}.json.new"
    side.write_text(json.dumps({"part_id": part_id}))
    side.replace(camera / f"{name}.json")
    image = camera / f".{name}.new"
    image.write_bytes(data)
    if captured_at is not None:
        os.utime(image, (captured_at, captured_at))
    image.replace(camera / name)


def wait_until(check: Any, *, timeout_s: float, every_s: float = 0.5) -> bool:
    """Poll a condition. Returns True as soon as it holds, and False at the deadline."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(every_s)
    return False
