"""`python -m deploy.local.supervisor`: runs the servers of one home until it is told to stop.

It starts a server after those that it needs, and writes the state of each to `run/status.json`, also of one that ended
by itself. On SIGUSR1 it starts those again. On SIGTERM it stops all in reverse order. It holds a lock, so a home has at
most one supervisor. The kernel releases the lock when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final

from components.stores.objects.whole_file import write_whole
from deploy.access.buckets import BucketError, ensure_on_this_machine
from deploy.access.identities import SETTINGS
from deploy.access.layout import REPOSITORY, Layout, base_environment
from deploy.access.locks import try_lock
from deploy.local.services import Service, all_services

_log = logging.getLogger(__name__)

POLL_S: Final = 0.3
MAX_LOG_BYTES: Final = 50_000_000


@dataclass(slots=True)
class Running:
    """The present state of a service. state: waiting, starting, healthy or exited."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    state: str = "waiting"
    detail: str = ""
    deadline: float = 0.0


def lock_file(layout: Layout) -> Path:
    """Return the lock file that the supervisor of this home holds while it runs."""
    return layout.run / "supervisor.lock"


def take_lock(layout: Layout, *, patience_s: float = 2.0) -> IO[str] | None:
    """Take the lock and write this pid into its file. Returns None if another supervisor holds it.

    patience_s: who only asks whether a supervisor runs holds a shared lock for a moment; it is waited for.
    """
    until = time.monotonic() + patience_s
    while (stream := try_lock(lock_file(layout))) is None:
        if time.monotonic() > until:
            return None
        time.sleep(0.05)
    stream.seek(0)
    stream.truncate()
    stream.write(str(os.getpid()))
    stream.flush()
    return stream


class Supervisor:
    """The loop that starts services whose needs are healthy, checks those that run, and writes changes of state."""

    def __init__(self, layout: Layout, services: tuple[Service, ...]) -> None:
        self._layout = layout
        self._all = {service.name: Running(service) for service in services}
        self._stop = threading.Event()
        self._again = threading.Event()
        self._written = ""

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """End the loop at its next pass."""
        self._stop.set()

    def start_again(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Start the services that ended by themselves, at the next pass of the loop."""
        self._again.set()

    def run(self) -> None:
        """Run the loop until `stop` is called; then stop all services in reverse order."""
        try:
            while not self._stop.is_set():
                if self._again.is_set():
                    self._again.clear()
                    for running in self._all.values():
                        if running.state == "exited":
                            running.process, running.state, running.detail = None, "waiting", ""
                for running in self._all.values():
                    self._turn(running)
                self._write()
                self._stop.wait(POLL_S)
        finally:
            self._stop_all()
            self._write(over=True)

    def _turn(self, running: Running) -> None:
        service = running.service
        if running.state == "waiting":
            if all(self._all[name].state == "healthy" for name in service.needs):
                self._start(running)
            return
        if running.state == "exited" or running.process is None:
            return
        code = _ended(running.process)
        if code is not None:
            running.state = "exited"
            running.detail = f"{service.name} ended by itself with code {code}: {_last_line(self._log_of(service))}"
            _log.error("%s", running.detail)
        elif running.state == "starting":
            if service.healthy():
                self._became_healthy(running)
            elif time.monotonic() > running.deadline:
                running.detail = f"no answer within {service.start_timeout_s:.0f} s; see {self._log_of(service)}"

    def _became_healthy(self, running: Running) -> None:
        if running.service.name == "s3":
            try:
                ensure_on_this_machine(self._layout)
            except BucketError as e:
                running.detail = str(e)
                return
        running.state, running.detail = "healthy", ""
        _log.info("%s is healthy", running.service.name)

    def _start(self, running: Running) -> None:
        service = running.service
        log = self._log_of(service)
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as stream:
            running.process = subprocess.Popen(
                service.guarded,
                env=dict(service.environment) | {"PYTHONPATH": str(REPOSITORY)},
                cwd=self._layout.home,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.state = "starting"
        running.deadline = time.monotonic() + service.start_timeout_s

    def _stop_all(self) -> None:
        alive = [r for r in reversed(self._all.values()) if r.process is not None and r.process.poll() is None]
        # A service stops before those that it needs, so S3 stops last.
        for wave in ([r for r in alive if r.service.name != "s3"], [r for r in alive if r.service.name == "s3"]):
            for running in wave:
                assert running.process is not None
                running.process.send_signal(signal.SIGTERM)
            for running in wave:
                assert running.process is not None
                try:
                    running.process.wait(running.service.stop_grace_s + 5)
                except subprocess.TimeoutExpired:
                    os.killpg(running.process.pid, signal.SIGKILL)
                    running.process.wait()
                _wait_for_group(running.process.pid)
                running.state, running.detail = "stopped", ""

    def _log_of(self, service: Service) -> Path:
        return self._layout.logs / f"{service.name}.log"

    def _write(self, *, over: bool = False) -> None:
        document: dict[str, Any] = {
            "schema_version": 1,
            "pid": os.getpid(),
            "over": over,
            "services": [
                {
                    "name": r.service.name,
                    "state": r.state,
                    "url": r.service.url,
                    "pid": r.process.pid if r.process else None,
                    "detail": r.detail,
                }
                for r in self._all.values()
            ],
        }
        text = json.dumps(document)
        if text != self._written:
            write_whole(self._layout.run / "status.json", text.encode())
            self._written = text


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a guard; None if it still runs.

    The rest of its process group is killed before the guard is reaped: until then, no other group can get its number.
    """
    if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _wait_for_group(group: int, timeout_s: float = 5.0) -> None:
    """Wait until all processes of a killed group are gone, so that its port is free. Signal 0 only checks for them."""
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.02)


def _last_line(log: Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-40:] if line.strip()]
    except OSError:
        return "it left no log"
    return lines[-1][:300] if lines else "it said nothing"


def main() -> int:
    """Run the supervisor of the home that the environment names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    layout = Layout.from_environment()
    lock = take_lock(layout)
    if lock is None:
        _log.error("another supervisor runs the servers of %s", layout.home)
        return 1
    with lock:
        # The handlers are set before a service starts, so that a signal during the start stops all services.
        supervisor = Supervisor(layout, all_services(layout))
        signal.signal(signal.SIGTERM, supervisor.stop)
        signal.signal(signal.SIGINT, supervisor.stop)
        signal.signal(signal.SIGUSR1, supervisor.start_again)
        supervisor.run()
    return 0


def environment(layout: Layout) -> dict[str, str]:
    """Return the environment of a supervisor of this layout: its home, its ports, and how notices are sent."""
    return (
        base_environment(*SETTINGS["reconciler"])  # the one service that takes settings of the caller
        | layout.ports.environment()
        | {
            "KIZU_HOME": str(layout.home),
            "KIZU_LABEL_STUDIO_VENV": str(layout.label_studio_venv),
            "PYTHONPATH": str(REPOSITORY),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
