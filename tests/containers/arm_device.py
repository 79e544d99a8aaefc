"""The agent in its image for linux/arm64: on the network of this machine, with the restrictions of the compose file.

Programs for another processor run under qemu. A qemu that crashed may look like a container that still runs, so every
wait here has a limit, and ends the container.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components import container_images as names
from edge_agent.result import Result
from inspection import Detection, Tolerance, Verdict
from inspection.golden import difference
from tests.containers.docker_engine import REPOSITORY, Docker, DockerFailed
from tests.edge_agent.running_agent import Device, request
from tests.edge_agent.servers import wait_for

PLATFORM = "linux/arm64"
IMAGE = f"{names.REGISTRY}/edge:{names.TAG}-arm64"
PROBE = "import platform, onnxruntime; print(platform.machine(), onnxruntime.__version__)"
_USER = 10001
_BUILD_S = 3600.0
_PROBE_S = 180.0
_COMMAND_S = 600.0
_START_S = 240.0
_RESTRICTED = (
    "--platform", PLATFORM, "--network", "host", "--read-only", "--tmpfs", "/tmp:size=256m,mode=1777",
    "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "512m", "--pids-limit", "200",
)  # fmt: skip


class NoEmulation(Exception):
    """This machine does not run programs for linux/arm64; the message says why, and what to do."""


def build_image(docker: Docker) -> str:
    """Build the image, or find it where its inputs are those of the last build: the engine's cache knows. Its tag.

    What the build prints is printed here (-s shows it). After an hour it is ended.

    Raises:
        NoEmulation: this is no x86_64 machine, or the build needs an emulation that is not there.
    """
    if platform.machine() != "x86_64":
        raise NoEmulation(f"expected an x86_64 machine to compare with, but this is {platform.machine()}")
    lines: list[str] = []
    with subprocess.Popen(
        [str(REPOSITORY / "tools" / "images"), "--platform", PLATFORM, "edge"],
        env=os.environ | {"KIZU_DOCKER": docker.command}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as build:  # fmt: skip
        # Its children hold the pipe too, so the whole group is ended.
        limit = threading.Timer(_BUILD_S, os.killpg, (build.pid, signal.SIGKILL))
        limit.start()
        try:
            for line in build.stdout or ():
                print(line, end="", flush=True)
                lines.append(line)
        finally:
            limit.cancel()
    if build.returncode != 0 and "run tools/arm-emulation" in "".join(lines):
        raise NoEmulation(lines[-1].strip())
    assert build.returncode == 0, f"{PLATFORM} could not be built ({build.returncode}):\n{''.join(lines[-40:])}"
    return IMAGE


def check_emulation(docker: Docker, image: str, limit_s: float = _PROBE_S) -> str:
    """Import onnxruntime in the image; returns the processor and the version that it names.

    Raises:
        NoEmulation: it does not do that within `limit_s`.
    """
    advice = "onnxruntime needs qemu 10 or newer; run tools/arm-emulation as root"
    try:
        said = run_limited(docker, [*_RESTRICTED, "--entrypoint", "python", image, "-c", PROBE], limit_s)
    except subprocess.TimeoutExpired:
        raise NoEmulation(f"`import onnxruntime` in {image} did not end within {limit_s:.0f} s; {advice}") from None
    except DockerFailed as e:
        raise NoEmulation(f"`import onnxruntime` in {image} failed; {advice}: {e}") from None
    if not said.splitlines()[-1].startswith("aarch64 "):
        raise NoEmulation(f"expected {image} to run on aarch64, but it says {said!r}; {advice}")
    return said.splitlines()[-1]


def run_limited(docker: Docker, arguments: list[str], limit_s: float) -> str:
    """`docker run --rm`; returns what it printed. After `limit_s` the container is removed.

    Raises:
        subprocess.TimeoutExpired: it did not end.
        DockerFailed: it ended with another code than 0.
    """
    name = f"kizu-test-{uuid.uuid4().hex[:8]}"
    try:
        return docker.run("run", "--rm", "--name", name, *arguments, timeout_s=limit_s)
    finally:
        docker.run("rm", "--force", name, check=False)


class ArmDevice(Device):
    """A device whose agent runs in the image. Its folder is the same path in the container."""

    def __init__(self, docker: Docker, image: str, folder: Path, seaweed, root: bytes) -> None:
        cameras = [
            {"name": "top", "source": "folder", "path": "camera"},
            {"name": "mes", "source": "http", "timeout_s": 120.0},
        ]
        super().__init__(folder, seaweed, root, cameras=cameras, intervals={"update_poll_s": 1.0, "report_s": 2.0})
        self.docker, self.image = docker, image
        self.container = f"kizu-test-{uuid.uuid4().hex[:8]}"
        self.user = os.getuid() or _USER
        if self.user != os.getuid():
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, self.user, self.user)
        self._options = [*_RESTRICTED, "--user", f"{self.user}:{self.user}", "--volume", f"{folder}:{folder}"]

    def start(self) -> None:
        """Start the agent, and wait until it answers."""
        command = [*self._options, "--name", self.container, self.image, "run", "--config", str(self.config)]
        self.docker.run("run", "--detach", *command)
        wait_for(self.answers, _START_S, 1.0)

    def answers(self) -> bool:
        """Whether the agent is alive. Fails where its container has ended."""
        state = self.docker.run("inspect", "--format", "{{.State.Running}}", self.container)
        assert state == "true", self.logs()
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def selftest(self) -> str:
        """`kizu-edge selftest` in a container of its own; fails where a check does. The agent must not run.

        Beside an emulated agent it would need more memory than compose gives: qemu keeps what it translates.
        """
        return run_limited(
            self.docker, [*self._options, self.image, "selftest", "--config", str(self.config)], _COMMAND_S
        )

    def release(self) -> dict:
        """What the agent says of its releases; empty where it does not answer in time."""
        try:
            return self.status()["release"]
        except OSError:
            return {}

    def inspect(self, data: bytes) -> Result:
        """Post an image, as a PLC does; returns the result that goes to the line."""
        status, body, _ = request(self, "POST", "/inspect", data)
        assert status == 200, f"{status}: {body!r}\n{self.logs()}"
        return Result.from_json(body)

    def logs(self) -> str:
        """The last of what the agent has logged."""
        return self.docker.run("logs", "--tail", "60", self.container, check=False)

    def end(self) -> int:
        """Stop the agent in order; returns its exit code."""
        self.docker.run("stop", "--time", "60", self.container)
        return int(self.docker.run("inspect", "--format", "{{.State.ExitCode}}", self.container))

    def remove(self) -> None:
        """Remove the container, running or not."""
        self.docker.run("rm", "--force", self.container, check=False)


@dataclass(frozen=True)
class Answer:
    """What a release said about one image."""

    verdict: Verdict
    detections: tuple[Detection, ...]


def differences(
    got: Mapping[str, Answer], expected: Mapping[str, Answer], tolerance: Tolerance, score_floor: float
) -> list[str]:
    """Where two machines disagree: another verdict, or detections that differ by more than the tolerance.

    score_floor: the score from which on detections were recorded.
    """
    assert got.keys() == expected.keys()
    found = []
    for name, wanted in expected.items():
        if got[name].verdict is not wanted.verdict:
            found.append(f"{name}: expected {wanted.verdict}, but got {got[name].verdict}")
        elif (wrong := difference(got[name].detections, wanted.detections, tolerance, score_floor)) is not None:
            found.append(f"{name}: {wrong}")
    return found
