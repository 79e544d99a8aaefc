"""What `tools/arm-emulation` keeps, replaces and fetches. Nothing here asks the kernel or the network."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors need no emulation of aarch64")


class Machine:
    """A machine with fake commands of an administrator, whose kernel has a qemu registered or none."""

    def __init__(self, folder: Path) -> None:
        self.commands, self.binfmt, self.asked = folder / "bin", folder / "binfmt_misc", folder / "asked"
        self.commands.mkdir()
        self.binfmt.mkdir()
        (self.binfmt / "register").touch()
        self.qemu = folder / "qemu" / "qemu-aarch64"
        self.command("id", "echo 0")
        self.command("apt-get", f'echo "$*" >> {self.asked}; exit 100')
        for name in ("qemu-aarch64", "qemu-aarch64-static"):
            self.command(name, "exit 1")

    def command(self, name: str, script: str) -> Path:
        path = self.commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def register(self, version: str, flags: str = "PF") -> None:
        """As the kernel shows a registration."""
        interpreter = self.command("registered", f"echo 'qemu-aarch64 version {version} (Debian)'")
        text = f"enabled\ninterpreter {interpreter}\nflags: {flags}\noffset 0\n"
        (self.binfmt / "qemu-aarch64").write_text(text)

    def run(self) -> subprocess.CompletedProcess[str]:
        places = {"KIZU_BINFMT": str(self.binfmt), "KIZU_QEMU": str(self.qemu)}
        environment = os.environ | places | {"PATH": f"{self.commands}:{os.environ['PATH']}"}
        return subprocess.run(
            [ROOT / "tools" / "arm-emulation"], env=environment, capture_output=True, text=True, timeout=30, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("version", ["10.0.2", "11.1"])
def test_a_machine_that_emulates_already_is_left_alone(machine: Machine, version: str) -> None:
    """A registered qemu that is new enough stays, and nothing is fetched or said."""
    machine.register(version)
    before = (machine.binfmt / "qemu-aarch64").read_text()
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (machine.binfmt / "qemu-aarch64").read_text() == before
    assert not machine.asked.exists()


def test_a_qemu_that_crashes_onnxruntime_is_replaced_and_what_is_fetched_is_said(machine: Machine) -> None:
    """Debian 12's qemu 7.2 does not count. A mirror that does not answer leaves its registration as it was."""
    machine.register("7.2.22")
    done = machine.run()
    assert done.returncode == 1
    assert "is version 7.2.22, and onnxruntime needs 10 or newer" in done.stdout
    assert "fetching the package qemu-user from http://deb.debian.org/debian, bookworm-backports" in done.stdout
    assert "could not be fetched" in done.stderr
    assert (machine.binfmt / "qemu-aarch64").read_text().startswith("enabled")
    assert "update" in machine.asked.read_text()
    assert not machine.qemu.exists()


def test_a_new_qemu_of_this_machine_is_registered_for_containers(machine: Machine) -> None:
    """Nothing is fetched then. Flag F makes the kernel open it once, for every container."""
    qemu = machine.command("qemu-aarch64", "echo 'qemu-aarch64 version 10.0.13 (Debian)'")
    machine.register("7.2.22")
    done = machine.run()
    assert not machine.asked.exists()
    entry = (machine.binfmt / "register").read_text()
    assert entry.startswith(":qemu-aarch64:M:0:\\x7fELF\\x02")
    assert entry.endswith(f":{qemu}:PF")
    # This kernel is a folder: it registers nothing, and the script notices.
    assert done.returncode == 1
    assert "to be there and enabled, but it is not" in done.stderr


def test_somebody_who_is_not_root_is_told_to_become_root(machine: Machine) -> None:
    """Before anything is fetched."""
    machine.command("id", "echo 1000")
    done = machine.run()
    assert done.returncode == 1
    assert "run: sudo tools/arm-emulation" in done.stderr
    assert not machine.asked.exists()
