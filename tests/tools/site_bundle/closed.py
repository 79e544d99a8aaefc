"""Commands in a network namespace of their own: they reach nothing, not even this machine's loopback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def alone(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
    return subprocess.run(
        ["unshare", "--net", "--map-root-user", *command],
        env=environment | more, capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip


def skip_where_impossible() -> None:
    """Skip where this machine lets nobody make such a namespace."""
    try:
        done = alone("true")
    except FileNotFoundError:
        pytest.skip("there is no command unshare")
    if done.returncode != 0:
        pytest.skip(f"a network namespace cannot be made here: {done.stderr.strip()}")
