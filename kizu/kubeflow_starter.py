"""Starts the reconciler's runs on Kubeflow Pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.settings import Settings
from components.stores.objects.claims import RunState
from pipelines.connection import Kubeflow, SubmitError
from pipelines.kubeflow_runs import KubeflowRuns
from reconciler.starts import StartedRun, StartError


class _Runs:
    """Runs whose errors are those that a starter may raise."""

    def __init__(self, runs: KubeflowRuns) -> None:
        self.inner = runs

    def find(self, claim: str) -> str | None:
        try:
            return self.inner.find(claim)
        except SubmitError as e:
            raise StartError(str(e)) from e

    def state(self, run_id: str) -> RunState:
        try:
            return self.inner.state(run_id)
        except SubmitError as e:
            raise StartError(str(e)) from e


class KubeflowStarter:
    """The port `reconciler.starts.Starter` on a cluster."""

    def __init__(self, kubeflow: Kubeflow) -> None:
        self._kubeflow = kubeflow
        self._runs: dict[str, _Runs] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> KubeflowStarter:
        """Kubeflow Pipelines as the settings name it."""
        return cls(Kubeflow.from_settings(settings))

    def runs(self, pipeline: str) -> _Runs:
        """The runs of a pipeline."""
        if pipeline not in self._runs:
            self._runs[pipeline] = _Runs(KubeflowRuns(self._kubeflow, pipeline))
        return self._runs[pipeline]

    def start(self, pipeline: str, arguments: Mapping[str, Any], claim: str, run: StartedRun) -> str:
        """Start a run, note its id in the claim, and return it.

        Raises:
            StartError: it was not started, or the answer was lost.
            ClaimLost: another caller took the claim over while the run was started.
        """
        try:
            run_id = self.runs(pipeline).inner.start(arguments, claim)
        except SubmitError as e:
            raise StartError(str(e)) from e
        run.started(run_id)
        return run_id
