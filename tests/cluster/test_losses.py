"""What an acceptance run does to pods, without a cluster."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.cluster.losses import at_work, meanwhile


def pod(node: str, *, phase: str = "Running", main: str = "running", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": node, "annotations": {"workflows.argoproj.io/node-name": node}, **metadata},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "wait", "state": {"running": {}}}, {"name": "main", "state": {main: {}}}],
        },
    }


def test_the_pod_of_a_step_is_found_by_the_path_of_its_node_and_its_driver_is_not():
    """Only the pod in which the step itself runs is lost: not its driver, and none that starts or ended."""
    path = "training-abcde.root.train-detector"
    others = [
        pod(f"{path}-driver"),
        pod("training-abcde.root.freeze-dataset.executor(0)"),
        pod(f"{path}.executor(0)", phase="Failed", main="terminated"),
        pod(f"{path}.executor(1)", phase="Pending", main="waiting"),
        pod(f"{path}.executor(2)", deletionTimestamp="2026-01-01T00:00:00Z"),
        {"metadata": {"name": "probe"}, "status": {"phase": "Running"}},
    ]
    assert at_work(others, "train-detector") is None
    wanted = pod(f"{path}.executor(3)")
    assert at_work([*others, wanted], "train-detector") == f"{path}.executor(3)"
    assert at_work([pod("training-abcde.root(0).train-detector(0).executor(0)")], "train-detector") is not None


def test_what_goes_wrong_beside_a_run_is_an_error_of_the_check():
    """A pod that could not be deleted fails the check, although the run beside it went well."""
    began = threading.Event()

    def act(stop: threading.Event) -> None:
        began.set()
        raise AssertionError("expected a running pod of mlflow")

    with pytest.raises(AssertionError, match="a running pod of mlflow"), meanwhile(act):
        assert began.wait(30)


def test_what_waits_beside_a_run_is_told_when_the_run_ended():
    """An act that still waits for its moment ends with the run."""
    told: list[bool] = []
    with meanwhile(lambda stop: told.append(stop.wait(30))):
        pass
    assert told == [True]
