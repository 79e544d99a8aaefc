"""What systemd is told, and that only the inspection loop gives the signs of life."""

from __future__ import annotations

import configparser
import os
import socket
import threading
from pathlib import Path

import pytest

from edge_agent.health import Health
from edge_agent.watchdog import ServiceManager

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "edge" / "kizu-edge.service"


@pytest.fixture
def listening(tmp_path):
    """A socket as systemd's, and what came in."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(5)
        yield str(tmp_path / "notify"), lambda: server.recv(100).decode()


def test_the_manager_hears_of_start_progress_and_stop(listening):
    """The words are those of sd_notify."""
    address, heard = listening
    manager = ServiceManager.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "90000000"})
    manager.ready()
    manager.progress()
    manager.stopping()
    assert [heard() for _ in range(3)] == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_signs_of_life_come_from_the_loop_and_not_more_often_than_needed(listening):
    """Whoever forgives a silence at the begin of a probation gives no sign of life: the loop may hang all the same."""
    address, heard = listening
    now = [0.0]
    manager = ServiceManager(address, 8.0, clock=lambda: now[0])
    health = Health(lambda: now[0], on_beat=manager.progress)
    for second in (0.0, 1.0, 1.9, 2.0, 3.0):
        now[0] = second
        health.beat()
        health.forgive_silence()
    manager.stopping()
    assert [heard() for _ in range(3)] == ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_address_is_understood():
    """In containers systemd listens on an address without a file; it begins with @."""
    name = f"kizu-test-{os.getpid()}-{threading.get_ident()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name}")
        server.settimeout(5)
        ServiceManager(f"@{name}").ready()
        assert server.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "90"}, {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "x"},
     {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "90"}],
)  # fmt: skip
def test_without_a_manager_nothing_happens(environment):
    """An agent in a terminal, and one whose manager is gone, inspect all the same."""
    manager = ServiceManager.of(environment)
    manager.ready()
    manager.progress()
    manager.stopping()


def test_a_watchdog_of_another_process_is_not_fed(listening):
    """A shell between systemd and the agent passes the environment on."""
    address, heard = listening
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    manager = ServiceManager.of(environment)
    manager.progress()
    manager.stopping()
    assert heard() == "STOPPING=1"


def test_the_unit_watches_the_loop_and_survives_a_trial_without_memory():
    """A kill of the trial's process for lack of memory must not stop the service in order, for ever."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNIT)
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"], service["OOMPolicy"]) == ("notify", "main", "continue")
    assert int(service["WatchdogSec"]) > 60
    assert "AF_UNIX" in service["RestrictAddressFamilies"]
