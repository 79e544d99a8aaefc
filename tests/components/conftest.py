"""Servers of the components' tests: an installation of its own on the one S3, and an MLflow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from components.model_registry import ModelRegistry
from components.object_store import S3ObjectStore
from components.settings import Settings
from deploy.local.buckets import ensure


@pytest.fixture(scope="session")
def installation(s3) -> Settings:
    """Settings of an installation that other rooms' tests do not write to.

    One for all: SeaweedFS gives each bucket seven volumes at its first write, and a disk has only so many.
    """
    environment = s3.environment("admin")
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    settings = Settings(
        s3_endpoint=environment["KIZU_S3_ENDPOINT"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        bucket_prefix=prefix,
    )
    ensure(s3.store("admin")._client, prefix, allowed_origins=["http://127.0.0.1"])
    return settings


@pytest.fixture(scope="session")
def store(installation) -> S3ObjectStore:
    """S3 as that installation's admin."""
    return S3ObjectStore.from_settings(installation)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory) -> Iterator[str]:
    """A real MLflow server on a free port: SQLite, artifacts in a folder, served by the server."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
            "--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts",
        ],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not _healthy(uri):
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()


def _healthy(uri: str) -> bool:
    try:
        return httpx.get(f"{uri}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def registry(mlflow_uri) -> ModelRegistry:
    """A client of that server."""
    return ModelRegistry(mlflow_uri)
