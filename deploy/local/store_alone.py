"""The store of this machine without the other servers: for a restore, which nobody may disturb."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from deploy.access.buckets import ensure_on_this_machine
from deploy.access.layout import REPOSITORY, Layout, make_private
from deploy.local import supervisor
from deploy.local.services import seaweedfs
from deploy.local.stack import StackError

_LIMIT_S: Final = 60.0


@contextmanager
def store_alone(layout: Layout) -> Iterator[None]:
    """Run the store with its buckets while the block runs. `kizu up` starts nothing meanwhile.

    Raises:
        StackError: servers of this installation run, or the store did not start.
    """
    make_private(layout.home)
    lock = supervisor.take_lock(layout)
    if lock is None:
        raise StackError("the servers run; stop them first: kizu down")
    with lock:
        yield from _running(layout)


def _running(layout: Layout) -> Iterator[None]:
    service = seaweedfs(layout)
    layout.logs.mkdir(parents=True, exist_ok=True)
    log = layout.logs / "s3.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            list(service.guarded), env=dict(service.environment), cwd=REPOSITORY,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _LIMIT_S
        while not service.healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"the store did not start; see {log}")
            time.sleep(0.1)
        ensure_on_this_machine(layout)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(service.stop_grace_s + 30)
        except subprocess.TimeoutExpired:
            process.kill()  # its guard ends the store
            process.wait()
