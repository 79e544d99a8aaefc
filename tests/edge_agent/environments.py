"""The Python environments on this machine: the device's own, and what it must not hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


EDGE_PYTHON = ROOT / ".venv-edge" / "bin" / "python"


FORBIDDEN = ("torch", "ultralytics", "mlflow", "kfp", "boto3", "label_studio_sdk")


def edge_python() -> str:
    """The device's interpreter. Where it is missing the test is skipped, or fails where nothing may be skipped."""
    if EDGE_PYTHON.exists():
        return str(EDGE_PYTHON)
    if os.environ.get("KIZU_REQUIRE_ALL") == "1":
        pytest.fail(f"{EDGE_PYTHON} is missing; make the device's environment")
    pytest.skip("the device's environment .venv-edge is not there")
