"""The stack on one machine: what is said when something is wrong, and what is left when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local import stack, supervisor
from deploy.local.services import Service
from tests.deploy.stack_fixture import make_layout


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def descendants(pid: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found |= {int(entry.name)} | descendants(int(entry.name))
    return found


def gone(pids: set[int], within_s: float = 30) -> bool:
    deadline = time.monotonic() + within_s
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_all_services_are_healthy_and_listen_on_loopback_only(stack):
    """Every service is healthy and listens on loopback addresses only."""
    from deploy.local import stack as local_stack
    from deploy.local.services import used_ports

    assert local_stack.status(stack.layout).healthy
    listening = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, port = fields[1].split(":")
                listening.setdefault(int(port, 16), set()).add(address)
    for port in used_ports(stack.layout):
        for address in listening.get(port, set()):
            assert address in ("0100007F", "00000000000000000000000001000000"), f"port {port} listens on {address}"


def test_a_second_up_reuses_what_runs(stack):
    """A second `up` leaves every process id as it was."""
    from deploy.local import stack as local_stack

    before = {service.name: service.pid for service in local_stack.status(stack.layout).services}
    local_stack.up(stack.layout)
    assert {service.name: service.pid for service in local_stack.status(stack.layout).services} == before


def test_a_taken_port_is_named_with_what_to_do(tmp_path):
    """A taken port is an error that names the port, its service and the setting that changes it."""
    layout = make_layout(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", layout.ports.mlflow))
        other.listen()
        with pytest.raises(
            stack.StackError, match=rf"port {layout.ports.mlflow} \(mlflow\) is taken.*KIZU_PORT_MLFLOW"
        ):
            stack.up(layout)


def small(name: str, port: int, *, needs: tuple[str, ...] = (), code: str = "") -> Service:
    """A server of a few lines that forks a child, as MLflow does."""
    program = code or (
        "import http.server,os,subprocess,sys\n"
        "subprocess.Popen([sys.executable,'-c','import time; time.sleep(600)'])\n"
        f"http.server.HTTPServer(('127.0.0.1',{port}),http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    url = f"http://127.0.0.1:{port}"
    return Service(name, (sys.executable, "-c", program), dict(os.environ), port, url, url, 30, needs)


@pytest.fixture
def supervised(tmp_path):
    """A supervisor in a process of its own, over services that the test gives."""
    import multiprocessing

    started = []

    def start(services):
        layout = make_layout(tmp_path / "home")

        def body():
            os.setsid()
            lock = supervisor.take_lock(layout)
            if lock is None:
                os._exit(1)
            running = supervisor.Supervisor(layout, services(layout))
            signal.signal(signal.SIGTERM, running.stop)
            signal.signal(signal.SIGUSR1, running.start_again)
            running.run()

        process = multiprocessing.get_context("fork").Process(target=body)
        process.start()
        started.append(process)
        return layout, process

    start.home = tmp_path / "home"
    yield start
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()


def wait_for(layout, check, within_s: float = 30):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = {service.name: service for service in stack.status(layout).services}
        if found and check(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"not so within {within_s} s: {stack.status(layout)}")


def test_a_crash_is_reported_by_name_and_the_others_go_on(supervised):
    """A crashed service is reported with its exit code and last output; the others stay healthy."""
    crash = "import sys,time; time.sleep(0.5); sys.stderr.write('the disk caught fire'); sys.exit(7)"
    layout, _ = supervised(
        lambda layout: (small("good", layout.ports.mlflow), small("bad", layout.ports.signer, code=crash))
    )
    found = wait_for(layout, lambda s: s["bad"].state == "exited" and s["good"].state == "healthy")
    assert "bad ended by itself with code 7: the disk caught fire" in found["bad"].detail


def test_up_starts_again_what_ended_and_leaves_the_others_alone(supervised, tmp_path):
    """After one server died, the command that starts the servers is the one that mends it."""
    once = tmp_path / "crashed"
    layout, _ = supervised(
        lambda layout: (
            small("good", layout.ports.mlflow),
            small(
                "bad",
                layout.ports.signer,
                code=f"import http.server,pathlib,sys\np=pathlib.Path({str(once)!r})\n"
                "if not p.exists():\n    p.touch()\n    sys.exit(7)\n"
                f"http.server.HTTPServer(('127.0.0.1',{layout.ports.signer}),"
                "http.server.SimpleHTTPRequestHandler).serve_forever()",
            ),
        )
    )
    found = wait_for(layout, lambda s: s["bad"].state == "exited" and s["good"].state == "healthy")
    said: list[str] = []
    stack.up(layout, on_progress=said.append)
    now = {service.name: service for service in stack.status(layout).services}
    assert now["bad"].state == "healthy"
    assert now["good"].pid == found["good"].pid
    assert any("bad had ended" in line for line in said)


def test_a_failed_start_leaves_the_servers_of_another_supervisor_alone(supervised):
    """Another call may have started a supervisor a moment before ours. Where its servers fail, ours stops nothing.

    The other supervisor holds the lock before our own is started, so that the order does not depend on luck.
    """
    crash = "import sys,time; time.sleep(0.5); sys.stderr.write('the disk caught fire'); sys.exit(7)"
    others, ours = [], []

    def start(layout):
        _, other = supervised(
            lambda layout: (small("good", layout.ports.mlflow), small("bad", layout.ports.signer, code=crash))
        )
        others.append(other)
        wait_for(layout, lambda s: s["bad"].state == "exited" and s["good"].state == "healthy")
        ours.append(stack.start_supervisor(layout))
        return ours[0]

    layout = make_layout(supervised.home)
    with pytest.raises(stack.StackError, match="the disk caught fire"):
        stack.up(layout, start=start)
    assert ours[0].poll() is not None
    assert others[0].is_alive()
    found = {service.name: service for service in stack.status(layout).services}
    assert found["good"].state == "healthy"
    os.kill(found["good"].pid, 0)


def test_what_a_former_supervisor_wrote_is_not_taken_for_the_present(supervised):
    """Until a new supervisor has written its own state, no server is called healthy because an earlier one was."""
    layout, _ = supervised(lambda layout: (small("server", layout.ports.mlflow),))
    wait_for(layout, lambda s: s["server"].state == "healthy")
    file = layout.run / "status.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "pid": document["pid"] + 1}))
    assert stack.status(layout).services == ()


def test_a_service_starts_only_when_what_it_needs_is_healthy(supervised):
    """A service waits without a process until the service that it needs is healthy."""
    never = "import time; time.sleep(600)"
    layout, _ = supervised(
        lambda layout: (
            small("first", layout.ports.mlflow, code=never),
            small("second", layout.ports.signer, needs=("first",)),
        )
    )
    found = wait_for(layout, lambda s: s["first"].state == "starting")
    time.sleep(1)
    found = wait_for(layout, lambda s: True)
    assert found["second"].state == "waiting"
    assert found["second"].pid is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_supervisor_whatever_ends_it(supervised, how):
    """All child processes end when the supervisor is ended by a signal."""
    layout, process = supervised(lambda layout: (small("server", layout.ports.mlflow),))
    wait_for(layout, lambda s: s["server"].state == "healthy")
    children = descendants(process.pid)
    assert len(children) >= 3, "the guard, the server and its child"
    os.kill(process.pid, how)
    process.join(30)
    assert gone(children)
    assert stack.status(layout).services == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_in_the_foreground_stops_all(supervised, tmp_path, number):
    """Ctrl-C, a termination signal and a closed terminal each stop every process."""
    layout, process = supervised(lambda layout: (small("server", layout.ports.mlflow),))
    wait_for(layout, lambda s: s["server"].state == "healthy")
    children = descendants(process.pid)
    said = tmp_path / "said.log"
    with said.open("wb") as stream:
        terminal = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "up", "--foreground"],
            env=os.environ | {"KIZU_HOME": str(layout.home)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 30
        while "Ctrl-C stops all" not in said.read_text():
            assert terminal.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        os.killpg(terminal.pid, number)
        assert terminal.wait(60) == 0, said.read_text()
    finally:
        terminal.kill()
        terminal.wait()
    process.join(30)
    assert gone(children)
    assert stack.status(layout).services == ()


def test_two_supervisors_of_one_home_refuse(supervised):
    """A second supervisor cannot take the lock of a home that has one."""
    layout, _ = supervised(lambda layout: (small("server", layout.ports.mlflow),))
    wait_for(layout, lambda s: s["server"].state == "healthy")
    assert supervisor.take_lock(layout) is None


def test_a_pid_in_a_file_alone_is_never_killed(tmp_path):
    """`down` kills no process just because a file holds its process id."""
    layout = make_layout(tmp_path)
    layout.run.mkdir(parents=True)
    supervisor.lock_file(layout).write_text(str(os.getpid()))
    (layout.run / "status.json").write_text(json.dumps({"pid": os.getpid(), "services": []}))
    stack.down(layout)
    assert stack.status(layout).services == ()
