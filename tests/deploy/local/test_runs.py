"""Runs of pipelines on this machine."""

from __future__ import annotations

from deploy.local.runs import _new_log
from tests.deploy.stack_fixture import make_layout


def test_runs_that_begin_within_a_second_have_a_log_each(tmp_path):
    """None writes over what another says."""
    layout = make_layout(tmp_path)
    for number in range(5):
        with _new_log(layout, "training") as log:
            log.write(f"run {number}".encode())
    logs = sorted(layout.logs.glob("run-training-*.log"))
    assert sorted(log.read_text() for log in logs) == [f"run {number}" for number in range(5)]
