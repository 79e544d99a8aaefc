"""Run a pipeline on this machine as its own process, which holds the identity of that pipeline and nothing more."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from deploy.access.identities import environment_for
from deploy.access.layout import Layout


class RunFailed(RuntimeError):
    """A pipeline that did not end well; the message carries its last words and its log."""


def run_pipeline(
    layout: Layout,
    pipeline: str,
    arguments: dict[str, Any],
    *,
    run_id: str | None = None,
    claim: str = "",
    on_start: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run to the end; returns the pipeline's outputs. Its log goes to the logs folder.

    Args:
        run_id: the id of its record; a new one by default.
        claim: the label of its record.
        on_start: called once it runs; where it raises, the run is ended.

    Raises:
        RunFailed: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="kizu-") as folder, _new_log(layout, pipeline) as stream:
        log = Path(stream.name)
        outputs = Path(folder) / "outputs.json"
        # Below a guard, so that no step goes on training after whoever asked for it was killed.
        command = [
            *(sys.executable, "-m", "deploy.local.guard", "--grace", "5"),
            *(sys.executable, "-m", "pipelines.run_here", pipeline),
            *("--arguments", json.dumps(arguments), "--outputs", str(outputs)),
            *(("--run-id", run_id) if run_id else ()),
            *(("--claim", claim) if claim else ()),
        ]
        process = subprocess.Popen(
            command,
            env=environment_for(layout, pipeline),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            if on_start is not None:
                on_start()
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
        if code != 0:
            raise RunFailed(f"the pipeline {pipeline} failed: {_last_words(log)}\n  the whole log: {log}")
        result: dict[str, Any] = json.loads(outputs.read_bytes())
        return result


def _new_log(layout: Layout, pipeline: str) -> BinaryIO:
    """A file of its own, also for the second run within a second."""
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
    """Ask the guard, which ends all that it started."""
    guard.terminate()
    try:
        guard.wait(15)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()


def _last_words(log: Path) -> str:
    """The line of a step's own error: the last one that looks like `some.module.SomeError: message`."""
    lines = log.read_text(errors="replace").splitlines()
    for line in reversed(lines):
        text = line.strip().strip("│").strip()
        name, separator, message = text.partition(": ")
        if separator and message and name.replace(".", "").replace("_", "").isalnum() and name[:1].isalpha():
            last = name.rsplit(".", 1)[-1]
            if last.endswith(("Error", "Denied", "NotFound", "NoSuchModel")) and last != "RuntimeError":
                return message
    return "a step ended without an error of its own (was it killed, or out of memory?)"
