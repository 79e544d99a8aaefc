"""Run a pipeline on this machine with this process's identity. It is the pipeline that runs on a cluster.

`python -m pipelines.run_here training --arguments '{"use_case": "..."}' --outputs out.json`
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from kfp import compiler, components, local

from components.settings import settings
from components.stores.objects.claims import RunState
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore
from components.stores.objects.whole_file import write_whole
from inspection.codec import canonical_json
from pipelines.compile import PIPELINES
from pipelines.run_records import RunRecord, RunRecords, alive, new_run_id, utc_now

_log = logging.getLogger(__name__)


_EXECUTOR: Final = "kfp.dsl.executor_main"
_NO_ERROR: Final = "a step ended without an error of its own (was it killed, or out of memory?)"


class PipelineFailed(RuntimeError):
    """A step failed. The message is the step's own error."""


def run_pipeline(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a pipeline with kfp's local runner and return the pipeline's outputs.

    Raises:
        PipelineFailed: a step failed.
    """
    if name not in PIPELINES:
        raise ValueError(f"expected one of {list(PIPELINES)}, but got {name!r}")
    with tempfile.TemporaryDirectory(prefix="kizu-run-") as folder:
        error_file = Path(folder) / "step-error.txt"
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder, raise_on_error=True)
        try:
            with warnings.catch_warnings():
                # The sizes of pods are for clusters, and a run on this machine has none.
                warnings.filterwarnings("ignore", ".* no effect in the current local runner", UserWarning)
                task = _runnable(name, error_file)(**arguments)
        except RuntimeError as e:
            _log.error("%s", e)
            said = error_file.read_text(encoding="utf-8") if error_file.exists() else _NO_ERROR
            raise PipelineFailed(said) from e
        return dict(task.outputs)


def _runnable(name: str, error_file: Path) -> Callable[..., Any]:
    """The compiled pipeline, whose steps write their error to a file (`pipelines.step`)."""
    function = getattr(importlib.import_module(f"pipelines.{name}"), name)
    compiled = error_file.with_name("pipeline.yaml")
    compiler.Compiler().compile(function, str(compiled))
    text = compiled.read_text(encoding="utf-8")
    start = f"-m {_EXECUTOR} "
    if start not in text:
        raise ValueError(f"expected the steps of the pipeline {name} to start with {start!r}, but none does")
    wrapped = text.replace(start, f"-m pipelines.step --error-file {shlex.quote(str(error_file))} {_EXECUTOR} ")
    pipeline: Callable[..., Any] = components.load_component_from_text(wrapped)
    return pipeline


def run_with_record(
    records: RunRecords,
    pipeline: str,
    arguments: dict[str, Any],
    *,
    run_id: str,
    claim: str = "",
    clock: Callable[[], datetime] = utc_now,
    copy: Path | None = None,
) -> dict[str, Any]:
    """Run a pipeline, keep its record up to date, and return the pipeline's outputs.

    A record that cannot be written is logged and does not stop the run. copy: a file that gets the record as well, so
    that whoever started the run can read it without the store.

    Raises:
        PipelineFailed: a step failed.
    """
    began = clock()
    record = RunRecord(
        pipeline=pipeline, run_id=run_id, began_at=began, state=RunState.RUNNING, seen_at=began, claim=claim
    )
    _write(records, record, copy)
    try:
        with alive(records, record, clock=clock):
            outputs = run_pipeline(pipeline, arguments)
    except PipelineFailed as e:
        _write(records, replace(record, state=RunState.FAILED, ended_at=clock(), error=str(e)), copy)
        raise
    _write(records, replace(record, state=RunState.SUCCEEDED, ended_at=clock(), outputs=outputs), copy)
    return outputs


def _write(records: RunRecords, record: RunRecord, copy: Path | None) -> None:
    if copy is not None:
        write_whole(copy, record.to_json())
    try:
        records.write(record)
    except ObjectStoreError as e:
        _log.warning("the run record could not be written: %s", e)


def main(argv: list[str] | None = None) -> int:
    """Run a pipeline as the arguments say; returns the exit code: 0, or 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", choices=PIPELINES)
    parser.add_argument("--arguments", required=True, type=json.loads, help="JSON object")
    parser.add_argument("--outputs", type=Path, help="where to write the outputs as JSON")
    parser.add_argument("--record", type=Path, help="where to write the run's record, besides the state bucket")
    parser.add_argument("--run-id", help="the id of the run's record; a new one by default")
    parser.add_argument("--claim", default="", help="the claim that it runs under: its label")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    run_id = options.run_id or new_run_id(utc_now())
    # kfp starts each step as a process of its own and passes this process's environment on, and nothing else.
    os.environ["KIZU_LOCAL_RUN"] = run_id
    config = settings()
    records = RunRecords(S3ObjectStore.from_settings(config), config.bucket("state"), options.pipeline)
    try:
        outputs = run_with_record(
            records, options.pipeline, options.arguments, run_id=run_id, claim=options.claim, copy=options.record
        )
    except PipelineFailed as e:
        _log.error("%s", e)
        return 1
    if options.outputs:
        options.outputs.write_bytes(canonical_json(outputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
