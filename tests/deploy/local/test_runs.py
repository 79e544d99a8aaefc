"""Runs of pipelines on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from components.stores.objects.claims import RunState
from deploy.local.runs import _error_in, _new_log
from pipelines.run_records import RunRecord
from tests.deploy.stack_fixture import make_layout


def test_runs_that_begin_within_a_second_have_a_log_each(tmp_path):
    """Each run gets a log file of its own, and no run overwrites the log of another."""
    layout = make_layout(tmp_path)
    for number in range(5):
        with _new_log(layout, "training") as log:
            log.write(f"run {number}".encode())
    logs = sorted(layout.logs.glob("run-training-*.log"))
    assert sorted(log.read_text() for log in logs) == [f"run {number}" for number in range(5)]


def test_a_failed_run_says_the_error_of_its_step():
    """The error of the step, which runs in a process of its own, is the message of `PipelineFailed`."""
    code = """
from pipelines.run_here import PipelineFailed, run_pipeline
try:
    run_pipeline("deployment", {"use_case": "{}", "version": 1})
except PipelineFailed as e:
    print(f"failed with: {e}")
"""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    wanted = "expected the environment variable MLFLOW_TRACKING_URI to be set, but it is empty"
    assert done.stdout.splitlines()[-1] == f"failed with: {wanted}"
    assert "Traceback" in done.stdout  # the log keeps the whole trace


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"", "killed"),
        (b"{", "killed"),
        (RunRecord(pipeline="training", run_id="r", began_at=datetime.now(UTC), state=RunState.RUNNING), "killed"),
        (
            RunRecord(
                pipeline="training", run_id="r", began_at=datetime.now(UTC), state=RunState.FAILED, error="no labels"
            ),
            "no labels",
        ),
    ],
)
def test_the_error_of_a_run_is_read_from_its_record(tmp_path, record, said):
    """A run without a record, or whose record has no error, was killed; the message says so."""
    file = tmp_path / "record.json"
    assert "killed" in _error_in(file)
    file.write_bytes(record if isinstance(record, bytes) else record.to_json())
    assert said in _error_in(file)
