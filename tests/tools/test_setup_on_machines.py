"""What `tools/setup` says on a machine that the lock files have no packages for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("machine", ["Linux armv7l 32", "Linux aarch64 32", "Linux riscv64 64"])
def test_a_machine_without_wheels_is_refused_by_the_names_of_the_packages(tmp_path: Path, machine: str) -> None:
    """A 32-bit Raspberry Pi, also one with a 64-bit kernel, is refused before anything is installed."""
    done = setup(tmp_path, machine)
    assert done.returncode == 1
    assert "expected a 64-bit Linux on x86_64 or aarch64" in done.stderr
    assert machine in done.stderr
    assert "onnxruntime and opencv-python-headless" in done.stderr


@pytest.mark.parametrize("machine", ["Linux x86_64 64", "Linux aarch64 64", "Darwin arm64 64"])
def test_other_machines_are_not_refused(tmp_path: Path, machine: str) -> None:
    """Both processors pass. Another system is left to the installer, which names the package that is missing."""
    done = setup(tmp_path, machine)
    assert done.returncode == 0, done.stdout + done.stderr


def setup(folder: Path, machine: str) -> subprocess.CompletedProcess:
    """Run `tools/setup` without an environment to make, in a copy of its own, with a Python on the machine."""
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *version_info*) echo 3.11 ;; *platform.machine*) echo "{machine}" ;; esac\n'
    )
    python.chmod(0o755)
    (folder / "tools").mkdir()
    (folder / "locks").mkdir()
    (folder / ".venv-tools" / "bin").mkdir(parents=True)
    (folder / "tools" / "setup").write_bytes((ROOT / "tools" / "setup").read_bytes())
    # The installer is there already, so that nothing reaches for the network.
    for place in (folder / "locks", folder / ".venv-tools"):
        (place / "uv.txt").write_text("uv\n")
    uv = folder / ".venv-tools" / "bin" / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    return subprocess.run(
        ["bash", folder / "tools" / "setup"],
        env=os.environ | {"KIZU_PYTHON": str(python)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
