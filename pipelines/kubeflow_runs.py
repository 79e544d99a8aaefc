"""Runs on Kubeflow Pipelines that are started under claims: the claim is part of the run's name, and finds it again.

Kubeflow Pipelines gives a run its id when it starts. If that answer is lost, only the name tells which run it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from components.settings import Settings
from components.stores.objects.claims import RunState
from components.use_case import UseCase, parse_use_case
from pipelines.compile import FOLDER
from pipelines.step_pods import StepPods
from pipelines.submit import SubmitError, connect, submit

_STATES: Final[Mapping[str, RunState]] = {
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "CANCELED": RunState.FAILED,
    "SKIPPED": RunState.FAILED,
}
"""What ended. Every other state (PENDING, RUNNING, PAUSED, CANCELING, and none yet) still goes on."""
_MOST_PAGES: Final = 20


@dataclass(frozen=True, slots=True)
class Kubeflow:
    """One Kubeflow Pipelines, and how to reach it. registry: where its images come from; None: as compiled."""

    endpoint: str
    namespace: str
    registry: str | None = None
    token: str | None = None
    cookie: str | None = None
    pods: StepPods = field(default_factory=StepPods)

    def __repr__(self) -> str:
        return f"Kubeflow({self.endpoint})"

    @classmethod
    def from_settings(cls, settings: Settings) -> Kubeflow:
        """The one that the settings name.

        Raises:
            SettingsError: they name none.
        """
        token, cookie = settings.kfp_token, settings.kfp_cookie
        return cls(
            settings.required("kfp_endpoint"),
            settings.kfp_namespace,
            settings.image_registry,
            token.get_secret_value() if token else None,
            cookie.get_secret_value() if cookie else None,
            StepPods.from_settings(settings),
        )


def run_name(pipeline: str, claim: str) -> str:
    """The name of a run under a claim."""
    return f"{pipeline} {claim}"


class KubeflowRuns:
    """The runs of one pipeline. Implements the port `components.stores.objects.claims.Runs`."""

    def __init__(self, kubeflow: Kubeflow, pipeline: str, compiled: Path = FOLDER) -> None:
        self._kubeflow = kubeflow
        self._pipeline = pipeline
        self._compiled = compiled
        self._client: Any = None

    def find(self, claim: str) -> str | None:
        """The newest run under a claim.

        Raises:
            SubmitError: Kubeflow Pipelines did not answer.
        """
        name = run_name(self._pipeline, claim)
        only = json.dumps({"predicates": [{"key": "display_name", "operation": "EQUALS", "stringValue": name}]})
        token = ""
        for _ in range(_MOST_PAGES):
            page = self._ask(
                "find a run", "list_runs", page_token=token, page_size=100, sort_by="created_at desc",
                namespace=self._kubeflow.namespace, filter=only,
            )  # fmt: skip
            for run in page.runs or []:
                if run.display_name == name:  # whatever the server makes of the filter
                    return str(run.run_id)
            token = page.next_page_token or ""
            if not token:
                return None
        return None

    def state(self, run_id: str) -> RunState:
        """The state of a run; LOST where there is no such run.

        Raises:
            SubmitError: Kubeflow Pipelines did not answer.
        """
        try:
            run = self._ask("read a run", "get_run", run_id)
        except SubmitError as e:
            if getattr(e.__cause__, "status", None) == 404:
                return RunState.LOST
            raise
        return _STATES.get(str(run.state or ""), RunState.RUNNING)

    def start(self, arguments: Mapping[str, Any], claim: str) -> str:
        """Start a run under a claim, in the experiment of its use case, and return its id.

        Raises:
            SubmitError: it was not started, or the answer was lost.
        """
        use_case: UseCase = parse_use_case(str(arguments["use_case"]))
        at = self._kubeflow
        return submit(
            self._compiled / f"{self._pipeline}.yaml", arguments, endpoint=at.endpoint, namespace=at.namespace,
            experiment=use_case.name, registry=at.registry, use_case=use_case, pods=at.pods, token=at.token,
            cookie=at.cookie, run_name=run_name(self._pipeline, claim),
        )  # fmt: skip

    def _ask(self, act: str, method: str, *given: Any, **named: Any) -> Any:
        at = self._kubeflow
        try:
            if self._client is None:
                self._client = connect(at.endpoint, at.namespace, at.token, at.cookie)
            return getattr(self._client, method)(*given, **named)
        except Exception as e:  # the generated client raises errors of three libraries
            self._client = None if getattr(e, "status", None) != 404 else self._client
            raise SubmitError(f"Kubeflow Pipelines at {at.endpoint} did not {act}: {str(e).strip()[:500]}") from e
