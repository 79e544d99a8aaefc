"""What inference needs besides time: disk for the packages, and the start and memory of the whole agent."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from benchmarks.edge.release import BuiltRelease
from edge_agent.ota.activation import State
from edge_agent.ota.store import ReleaseStore

_ROOT = Path(__file__).resolve().parents[2]
_WAIT_S = 60.0


def edge_packages() -> list[str]:
    """The packages that the device installs, from pyproject.toml."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["edge"]]


def disk_bytes(requirements: Iterable[str]) -> int:
    """Bytes of the installed files of these packages and of all that they depend on, in this environment.

    Raises:
        importlib.metadata.PackageNotFoundError: a package is not installed.
    """
    todo = [Requirement(text) for text in requirements]
    seen: set[tuple[str, str]] = set()
    sizes: dict[str, int] = {}
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            if (requirement.name.lower(), extra) in seen:
                continue
            seen.add((requirement.name.lower(), extra))
            try:
                found = importlib.metadata.distribution(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                if requirement.name == "openvino-telemetry":  # left out of the locks on purpose
                    continue
                raise
            sizes.setdefault(found.name.lower(), _files_bytes(found))
            needed = (Requirement(text) for text in found.requires or ())
            todo += [item for item in needed if item.marker is None or item.marker.evaluate({"extra": extra})]
    return sum(sizes.values())


def _files_bytes(found: importlib.metadata.Distribution) -> int:
    paths = (Path(str(found.locate_file(file))) for file in found.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """The whole agent, started as a device starts it, without a network.

    start_s: seconds until the first frame is inspected and put away.
    """

    start_s: float
    resident_bytes: int


def measure_agent(built: BuiltRelease, jpeg: bytes, folder: Path, python: str, threads: int) -> AgentProcess:
    """Start `kizu-edge run` on a device that has the release, and wait until its first frame is put away.

    Raises:
        RuntimeError: the agent ended, or inspected nothing within a minute.
    """
    shutil.rmtree(folder, ignore_errors=True)
    camera, state = folder / "camera", folder / "state"
    camera.mkdir(parents=True)
    store = ReleaseStore(state)
    built.write(store.folder(built.digest))
    store.save_state(State(current=built.digest, factory=built.digest, since=datetime.now(UTC)))
    (camera / "first.jpg").write_bytes(jpeg)
    command = [python, "-m", "edge_agent", "run", "--config", str(_configure(folder, built, threads))]
    began = time.perf_counter()
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log) as process:
        try:
            while any(path.is_file() for path in camera.iterdir()):
                if process.poll() is not None or time.perf_counter() - began > _WAIT_S:
                    raise RuntimeError(f"the agent inspected nothing: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.005)
            start_s = time.perf_counter() - began
            return AgentProcess(start_s, _resident_bytes(process.pid))
        finally:
            process.terminate()


def _configure(folder: Path, built: BuiltRelease, threads: int) -> Path:
    credentials = folder / "credentials.json"
    credentials.touch(0o600)
    credentials.write_text(json.dumps({"access_key": "bench", "secret_key": "bench"}))
    (folder / "root.json").write_text("{}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "device": "bench", "group": "line", "site": "bench", "use_case": built.release.use_case,
        "cameras": [{"source": "folder", "path": "camera", "poll_interval_s": 0.02, "settle_s": 0.0}],
        # No server listens at this address: a device must start without its network.
        "s3": {"endpoint": "http://127.0.0.1:9", "credentials_file": "credentials.json"},
        "page": {"port": port},
        "inference": {"threads": threads},
        "outbox": {"min_free_bytes": 0},
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
