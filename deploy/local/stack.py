"""Starts, stops and shows the servers of one home."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from deploy.access.layout import REPOSITORY, Layout, make_private
from deploy.access.locks import is_locked
from deploy.local import supervisor
from deploy.local.services import is_free, used_ports

MIN_FREE_BYTES: Final = 3_000_000_000
START_TIMEOUT_S: Final = 420.0
STOP_TIMEOUT_S: Final = 60.0


class StackError(RuntimeError):
    """The servers cannot be started or stopped; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The status of one server. state: waiting, starting, healthy, exited or stopped."""

    name: str
    state: str
    url: str
    detail: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The status of all servers. It is empty if no supervisor runs."""

    services: tuple[ServiceStatus, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether servers run and all are healthy."""
        return bool(self.services) and all(service.state == "healthy" for service in self.services)

    @property
    def exited(self) -> tuple[ServiceStatus, ...]:
        """The servers that ended by themselves."""
        return tuple(service for service in self.services if service.state == "exited")


def status(layout: Layout) -> StackStatus:
    """Return the present status of the servers."""
    holder = _holder(layout)
    document = _read(layout)
    if holder is None or document.get("pid") != holder:
        return StackStatus()  # none runs, or it has not said anything yet
    return StackStatus(
        tuple(
            ServiceStatus(item["name"], item["state"], item["url"], item["detail"], item["pid"])
            for item in document.get("services", ())
        )
    )


def start_supervisor(layout: Layout) -> subprocess.Popen[bytes]:
    """Start a supervisor of this installation; it ends at once where another one holds the lock."""
    make_private(layout.home)
    layout.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.logs.mkdir(parents=True, exist_ok=True)
    with (layout.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.local.supervisor"],
            env=supervisor.environment(layout),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def up(
    layout: Layout,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
    start: Callable[[Layout], subprocess.Popen[bytes]] = start_supervisor,
) -> None:
    """Start all servers and wait until each is healthy.

    Running servers are left alone, and those that ended by themselves are started again. Where the start fails or
    Ctrl-C ends it, the servers that this call started are stopped, and no others.

    Args:
        start: starts a supervisor where none runs.

    Raises:
        StackError: a port is taken, the disk is full, an environment is missing, or a server ended.
    """
    holder = _holder(layout)
    process: subprocess.Popen[bytes] | None = None
    if holder is None:
        _check(layout)
        process = start(layout)
    else:
        _start_again(layout, holder, on_progress)
    try:
        _wait_until_healthy(layout, process, on_progress)
    except BaseException:
        if process is not None:
            _end(process)
        raise
    if process is not None:
        process.returncode = 0  # it outlives this call on purpose; Popen would warn about that


def _start_again(layout: Layout, holder: int, on_progress: Callable[[str], None]) -> None:
    """Have the supervisor start the servers that ended by themselves."""
    ended = [service.name for service in status(layout).exited]
    if not ended:
        return
    on_progress(f"{', '.join(ended)} had ended and is started again; see {layout.logs} for the reason")
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder, signal.SIGUSR1)
    until = time.monotonic() + 10
    while time.monotonic() < until and {service.name for service in status(layout).exited} & set(ended):
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a supervisor that this process started, and with it its servers."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()  # the guards end the servers
        process.wait()


def _wait_until_healthy(
    layout: Layout, process: subprocess.Popen[bytes] | None, on_progress: Callable[[str], None]
) -> None:
    said: set[str] = set()
    began = time.monotonic()
    while True:
        found = status(layout)
        for service in found.services:
            if service.state == "healthy" and service.name not in said:
                said.add(service.name)
                on_progress(f"{service.name:<14}{service.url}  (after {time.monotonic() - began:.0f} s)")
        if found.healthy:
            return
        if found.exited:
            raise StackError(
                f"{found.exited[0].detail} (log: {layout.logs / (found.exited[0].name + '.log')}); "
                "kizu up starts it again, kizu down stops the others"
            )
        # Another call may have started a supervisor a moment before ours: then ours ends, and the other's is used.
        if (process is None or process.poll() is not None) and _holder(layout) is None:
            raise StackError(f"the supervisor has ended; see {layout.logs}/supervisor.log")
        if time.monotonic() - began > START_TIMEOUT_S:
            late = [f"{s.name} ({s.detail or s.state})" for s in found.services if s.state != "healthy"]
            raise StackError(f"not healthy within {START_TIMEOUT_S:.0f} s: {', '.join(late)}; see {layout.logs}")
        time.sleep(0.2)


def down(layout: Layout) -> None:
    """Stop all servers. If none runs, nothing happens.

    Raises:
        StackError: the supervisor did not end, even when killed.
    """
    pid = _holder(layout)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if _wait_for_release(layout, STOP_TIMEOUT_S):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # the guards end the servers
    if not _wait_for_release(layout, 10):
        raise StackError(f"the supervisor (pid {pid}) does not end; see {layout.logs}/supervisor.log")


def foreground(layout: Layout, *, on_progress: Callable[[str], None]) -> None:
    """Start all servers and wait. Ctrl-C, SIGTERM, a closed terminal, or a server that ends by itself stops all.

    Raises:
        StackError: a server ended by itself.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # SIGINT too, because a shell starts a background process with SIGINT ignored.
        signal.signal(number, signal.default_int_handler)
    up(layout, on_progress=on_progress)
    on_progress("Ctrl-C stops all")
    try:
        while True:
            found = status(layout)
            if found.exited:
                raise StackError(found.exited[0].detail)
            if not found.services:
                return
            time.sleep(0.5)
    except KeyboardInterrupt:
        on_progress("stopping")
    finally:
        down(layout)


def logs(layout: Layout, service: str | None, *, lines: int = 40) -> list[tuple[str, str]]:
    """Return (name, last lines) of one log, or of the logs of all servers.

    Raises:
        StackError: the log does not exist.
    """
    names = (
        [service] if service else [path.stem for path in sorted(layout.logs.glob("*.log")) if "run-" not in path.name]
    )
    found = []
    for name in names:
        path = layout.logs / f"{name}.log"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in layout.logs.glob("*.log"))) or "none yet"
            raise StackError(f"there is no log of {name!r}; there are: {known}")
        found.append((name, "\n".join(path.read_text(errors="replace").splitlines()[-lines:])))
    return found


def _check(layout: Layout) -> None:
    for port, name in used_ports(layout).items():
        try:
            free_to_take = is_free(port)
        except OverflowError as e:
            raise StackError(f"KIZU_PORT_S3 must leave room for ports 10,000 above it, but {port} is too high") from e
        if not free_to_take:
            variable = f"KIZU_PORT_{name.upper().replace('-', '_')}"
            raise StackError(
                f"port {port} ({name}) is taken by another process; stop it, or set {variable} to another port"
            )
    existing = next(parent for parent in (layout.home, *layout.home.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        raise StackError(
            f"expected {MIN_FREE_BYTES >> 20} MB of free disk for {layout.home}, but {free >> 20} MB are free"
        )
    if not (layout.label_studio_venv / "bin" / "label-studio").exists():
        raise StackError(f"expected Label Studio in {layout.label_studio_venv}, but it is not there; run: make setup")


def _holder(layout: Layout) -> int | None:
    """Return the pid that holds the lock. The pid in the file alone could belong to another process by now."""
    path = supervisor.lock_file(layout)
    if not is_locked(path):
        return None
    text = path.read_text().strip()
    return int(text) if text.isdigit() else _soon(layout)


def _soon(layout: Layout) -> int | None:
    # The pid is written a moment after the lock is taken.
    time.sleep(0.1)
    text = supervisor.lock_file(layout).read_text().strip()
    return int(text) if text.isdigit() else None


def _wait_for_release(layout: Layout, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if _holder(layout) is None:
            return True
        time.sleep(0.1)
    return False


def _read(layout: Layout) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((layout.run / "status.json").read_bytes())
    except FileNotFoundError:
        return {}
    return document
