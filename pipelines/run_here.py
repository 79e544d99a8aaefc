"""Run a pipeline on this machine, in this process's identity: the same components that run on a cluster.

`python -m pipelines.run_here training --arguments '{"use_case": "..."}' --outputs out.json`
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfp import local

from components.settings import settings
from components.stores.objects.claims import RunState
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore
from inspection.codec import canonical_json
from pipelines.compile import PIPELINES
from pipelines.run_records import RunRecord, RunRecords, alive, new_run_id

_log = logging.getLogger(__name__)


class PipelineFailed(RuntimeError):
    """A step failed; its own message stands in the log above."""


def run_pipeline(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run to the end and return the pipeline's outputs.

    Raises:
        PipelineFailed: a step failed.
    """
    if name not in PIPELINES:
        raise ValueError(f"expected one of {list(PIPELINES)}, but got {name!r}")
    function = getattr(importlib.import_module(f"pipelines.{name}"), name)
    with tempfile.TemporaryDirectory(prefix="kizu-run-") as folder:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder, raise_on_error=True)
        try:
            task = function(**arguments)
        except RuntimeError as e:
            raise PipelineFailed(f"the pipeline {name} failed: {e}") from e
        return dict(task.outputs)


def _keep(records: RunRecords, record: RunRecord) -> None:
    """A record that cannot be kept ends no run."""
    try:
        records.write(record)
    except ObjectStoreError as e:
        _log.warning("the run record could not be kept: %s", e)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, write outputs, exit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", choices=PIPELINES)
    parser.add_argument("--arguments", required=True, type=json.loads, help="JSON object")
    parser.add_argument("--outputs", type=Path, help="where to write the outputs as JSON")
    parser.add_argument("--run-id", help="as chosen by whoever starts it")
    parser.add_argument("--claim", default="", help="the claim that it runs under: its label")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    began = datetime.now(UTC)
    run_id = options.run_id or new_run_id(began)
    os.environ["KIZU_LOCAL_RUN"] = run_id  # the steps are processes below this one
    config = settings()
    records = RunRecords(S3ObjectStore.from_settings(config), config.bucket("state"), options.pipeline)
    record = RunRecord(
        pipeline=options.pipeline,
        run_id=run_id,
        began_at=began,
        state=RunState.RUNNING,
        seen_at=began,
        claim=options.claim,
    )
    _keep(records, record)
    try:
        with alive(records, record):
            outputs = run_pipeline(options.pipeline, options.arguments)
    except PipelineFailed as e:
        _log.error("%s", e)
        _keep(records, replace(record, state=RunState.FAILED, ended_at=datetime.now(UTC), error=str(e)))
        return 1
    _keep(records, replace(record, state=RunState.SUCCEEDED, ended_at=datetime.now(UTC), outputs=outputs))
    if options.outputs:
        options.outputs.write_bytes(canonical_json(outputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
