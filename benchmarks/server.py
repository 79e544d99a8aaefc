"""Servers that a benchmark starts for itself, in a folder that is removed with them."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.settings import Settings
from deploy.access.identities import load
from deploy.access.layout import GRPC_OFFSET, REPOSITORY, SEAWEEDFS_OFFSETS, Layout, Ports
from deploy.local.services import Service, is_free, seaweedfs

_FIRST, _LAST, _STEP = 12_000, 22_000, 10


@contextmanager
def object_store(work: Path) -> Iterator[Settings]:
    """Run an object store and yield the settings of its admin, until the block ends.

    Args:
        work: a folder with room for the data.
    """
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="s3-") as folder:
        layout = Layout(Path(folder), Ports(s3=free_port()), REPOSITORY)
        with running(seaweedfs(layout), layout):
            key = load(layout)["s3"]["admin"]
            yield Settings(
                s3_endpoint=layout.s3_endpoint,
                access_key_id=key["access_key"],
                secret_access_key=key["secret_key"],
            )


@contextmanager
def running(service: Service, layout: Layout) -> Iterator[None]:
    """Start the server, wait until it is healthy, and stop it at the end of the block.

    Raises:
        RuntimeError: the server does not become healthy; the message has the end of its log.
    """
    log = layout.home / f"{service.name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            service.guarded,
            env=dict(service.environment) | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + service.start_timeout_s
            while not service.healthy():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{service.name} did not start: {log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    """Find a free port where the ports that SeaweedFS opens beside it are free, too."""
    for port in range(_FIRST, _LAST, _STEP):
        if all(is_free(port + offset + grpc) for offset in (0, *SEAWEEDFS_OFFSETS) for grpc in (0, GRPC_OFFSET)):
            return port
    raise RuntimeError(f"found no free ports from {_FIRST} to {_LAST}")
