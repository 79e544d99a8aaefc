"""Runs a pipeline on this machine, in its own process that has only the pipeline's identity."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from deploy.access.identities import environment_for
from deploy.access.layout import Layout
from inspection.codec import DocumentError
from pipelines.run_records import RunRecord

_POLL_S: Final = 0.2
_KILLED: Final = "the run ended without an error of its own (was it killed, or out of memory?)"


class RunFailed(RuntimeError):
    """A run failed. The message contains the error of the run's record and names the log."""


class RunStopped(RuntimeError):
    """The caller had the run ended before its work was done."""


def run_pipeline(
    layout: Layout,
    pipeline: str,
    arguments: dict[str, Any],
    *,
    identity: str | None = None,
    run_id: str | None = None,
    claim: str = "",
    on_start: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run a pipeline to its end and return its outputs. The log of the run goes to the logs folder.

    Args:
        layout: the installation on this machine.
        pipeline: `labeling`, `training`, `evaluation` or `deployment`.
        arguments: the arguments of the pipeline.
        identity: with which the pipeline runs; that of its own name by default.
        run_id: the id of the run's record; a new one by default.
        claim: the name of the claim that the run holds, which goes into the record; '' for none.
        on_start: called once when the process has started. If it raises, the run is ended.
        stop: the run is ended when it is set.

    Raises:
        RunFailed: the run failed.
        RunStopped: `stop` was set.
    """
    with tempfile.TemporaryDirectory(prefix="kizu-") as folder, _new_log(layout, pipeline) as stream:
        log = Path(stream.name)
        outputs, record = Path(folder) / "outputs.json", Path(folder) / "record.json"
        # The guard ends the steps when the process that asked for the run is killed.
        command = [
            *(sys.executable, "-m", "deploy.local.guard", "--grace", "5"),
            *(sys.executable, "-m", "pipelines.run_here", pipeline),
            *("--arguments", json.dumps(arguments), "--outputs", str(outputs), "--record", str(record)),
            *(("--run-id", run_id) if run_id else ()),
            *(("--claim", claim) if claim else ()),
        ]
        process = subprocess.Popen(
            command,
            env=environment_for(layout, identity or pipeline),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            if on_start is not None:
                on_start()
            code = _wait(process, stop)
        except BaseException:
            _stop(process)
            raise
        if code != 0:
            raise RunFailed(f"the pipeline {pipeline} failed: {_error_in(record)}\n  the whole log: {log}")
        result: dict[str, Any] = json.loads(outputs.read_bytes())
        return result


def _wait(process: subprocess.Popen[bytes], stop: threading.Event | None) -> int:
    if stop is None:
        return process.wait()
    while (code := process.poll()) is None:
        if stop.wait(_POLL_S):
            raise RunStopped("the run was ended because its caller stops")
    return code


def _new_log(layout: Layout, pipeline: str) -> BinaryIO:
    """Open a new log file. Two runs that begin within one second get two files."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    name = f"run-{pipeline}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    number, path = 1, layout.logs / f"{name}.log"
    while True:
        try:
            return path.open("xb")
        except FileExistsError:
            number += 1
            path = layout.logs / f"{name}-{number}.log"


def _stop(guard: subprocess.Popen[bytes]) -> None:
    """Ask the guard to end; it ends all processes that it started. Kill it after 15 s."""
    guard.terminate()
    try:
        guard.wait(15)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()


def _error_in(record: Path) -> str:
    """Return why a run failed: the error of its record."""
    try:
        return RunRecord.from_json(record.read_bytes()).error or _KILLED
    except (FileNotFoundError, DocumentError):
        return _KILLED
