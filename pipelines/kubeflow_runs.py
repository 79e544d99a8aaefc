"""Runs on Kubeflow Pipelines that are started under claims: the claim is part of the run's name, and finds it again.

Kubeflow Pipelines gives a run its id when it starts. If that answer is lost, only the name tells which run it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from components.stores.objects.claims import RunState
from components.use_case import UseCase, parse_use_case
from pipelines.compile import FOLDER
from pipelines.connection import Api, Kubeflow, SubmitError
from pipelines.submit import submit

_STATES: Final[Mapping[str, RunState]] = {
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "CANCELED": RunState.FAILED,
    "SKIPPED": RunState.FAILED,
}
"""What ended. Every other state (PENDING, RUNNING, PAUSED, CANCELING, and none yet) still goes on."""


def run_name(pipeline: str, claim: str) -> str:
    """The name of a run under a claim."""
    return f"{pipeline} {claim}"


class KubeflowRuns:
    """The runs of one pipeline. Implements the port `components.stores.objects.claims.Runs`."""

    def __init__(self, kubeflow: Kubeflow, pipeline: str, compiled: Path = FOLDER) -> None:
        self._kubeflow = kubeflow
        self._pipeline = pipeline
        self._compiled = compiled
        self._api: Api | None = None

    def find(self, claim: str) -> str | None:
        """The newest run under a claim.

        Raises:
            SubmitError: Kubeflow Pipelines did not answer.
        """
        api = self._connected()
        name, at = run_name(self._pipeline, claim), self._kubeflow.namespace
        found = api.named("find a run", api.runs.run_service_list_runs, "runs", name, namespace=at)
        return str(found[0].run_id) if found else None

    def state(self, run_id: str) -> RunState:
        """The state of a run; LOST where there is no such run.

        Raises:
            SubmitError: Kubeflow Pipelines did not answer.
        """
        api = self._connected()
        try:
            run = api.ask("read a run", api.runs.run_service_get_run, run_id)
        except SubmitError as e:
            if e.missing:
                return RunState.LOST
            raise
        return state_of(run)

    def start(self, arguments: Mapping[str, Any], claim: str) -> str:
        """Start a run under a claim, in the experiment of its use case, and return its id.

        Raises:
            SubmitError: it was not started, or the answer was lost.
        """
        use_case: UseCase = parse_use_case(str(arguments["use_case"]))
        compiled = self._compiled / f"{self._pipeline}.yaml"
        called = run_name(self._pipeline, claim)
        return submit(self._connected(), compiled, use_case, arguments, run_name=called).run_id

    def _connected(self) -> Api:
        # Kept once it answered. A later call that finds nobody says so itself.
        if self._api is None:
            self._api = Api(self._kubeflow)
        return self._api


def state_of(run: Any) -> RunState:
    """The state of a run as the API tells it."""
    return _STATES.get(str(run.state or ""), RunState.RUNNING)
