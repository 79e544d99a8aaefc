"""Follow a run on Kubeflow Pipelines to its end: which step is at work, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from components.stores.objects.claims import RunState
from pipelines.connection import Api, SubmitError
from pipelines.kubeflow_runs import state_of

_ENDED: Final = (RunState.SUCCEEDED, RunState.FAILED)
_STATES: Final[Mapping[str, str]] = {
    "PENDING": "waits",
    "RUNNING": "runs",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "was skipped",
    "FAILED": "failed",
    "CANCELING": "is being ended",
    "CANCELED": "was ended",
    "PAUSED": "is paused",
}
_AT_THE_START: Final = "is not there yet"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run. state: in words. seconds: how long it took; None while it runs, or where nobody knows."""

    name: str
    state: str
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. said: Kubeflow Pipelines' own word for it. why: its error, where it has one."""

    succeeded: bool
    said: str
    steps: tuple[Step, ...]
    why: str = ""

    @property
    def failed_steps(self) -> tuple[str, ...]:
        """The steps that failed."""
        return tuple(step.name for step in self.steps if step.state == _STATES["FAILED"])


def steps_in(compiled: Path) -> tuple[str, ...]:
    """The names of a compiled pipeline's steps, those in conditions included, in the order in which they start."""
    specification, *_ = yaml.safe_load_all(compiled.read_text(encoding="utf-8"))
    components = specification["components"]

    def ordered(dag: Mapping[str, Any]) -> Iterator[str]:
        tasks, placed = dag["tasks"], list[str]()
        while len(placed) < len(tasks):
            for name in sorted(tasks):
                if name not in placed and set(tasks[name].get("dependentTasks", [])) <= set(placed):
                    placed.append(name)
        for name in placed:
            inner = components[tasks[name]["componentRef"]["name"]]
            yield from ordered(inner["dag"]) if "dag" in inner else (name,)

    return tuple(ordered(specification["root"]["dag"]))


def steps_of(run: Any, names: Sequence[str]) -> tuple[Step, ...]:
    """The steps of a run as the API tells them, in the order of `names`.

    The API lists the nodes of Argo's workflow: drivers, conditions and each attempt of a step besides the steps.
    """
    details = {detail.display_name: detail for detail in (run.run_details and run.run_details.task_details) or []}
    return tuple(_step(name, details.get(name)) for name in names)


def _step(name: str, detail: Any | None) -> Step:
    if detail is None:
        return Step(name, _AT_THE_START)
    state = str(detail.state or "")
    began, ended = detail.start_time, detail.end_time
    took = None
    # A time that is not known yet is told as one of long ago.
    if state in ("SUCCEEDED", "FAILED") and isinstance(began, datetime) and isinstance(ended, datetime):
        took = int((ended - began).total_seconds()) if ended >= began else None
    return Step(name, _STATES.get(state, _AT_THE_START), took)


def follow(
    api: Api,
    run_id: str,
    names: Sequence[str],
    say: Callable[[str], None],
    *,
    every_s: float = 5.0,
    patience_s: float = 300.0,
    hint_after_s: float = 600.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Say each change of a step until the run ended.

    Args:
        names: of the steps, see `steps_in`.
        patience_s: how long the API may give no answer.
        hint_after_s: how long no step may change before a line says where to look. The API tells a pod that cannot
            start as one that runs.

    Raises:
        SubmitError: the API gave no answer for so long, or there is no such run. The run itself goes on.
    """
    known = dict.fromkeys(names, _AT_THE_START)
    answered, silent = clock(), False
    changed, hinted = clock(), False
    while True:
        try:
            run = api.ask("tell the state of the run", api.runs.run_service_get_run, run_id)
        except SubmitError as e:
            if e.missing or clock() - answered >= patience_s:
                raise
            if not silent:
                say(f"no answer; asking for {patience_s:.0f} s more: {e}")
            silent = True
            sleep(every_s)
            continue
        if silent:
            say("it answers again")
        answered, silent = clock(), False
        steps = steps_of(run, names)
        for step in steps:
            if known[step.name] != step.state:
                known[step.name] = step.state
                changed, hinted = clock(), False
                say(f"{step.name} {step.state}" + (f" after {step.seconds} s" if step.seconds is not None else ""))
        state = state_of(run)
        if state in _ENDED:
            why = str(run.error.message).strip().partition("\n")[0] if run.error and run.error.message else ""
            return Outcome(state is RunState.SUCCEEDED, str(run.state).lower(), steps, why)
        if not hinted and clock() - changed >= hint_after_s:
            hinted = True
            say(
                f"no step changed for {hint_after_s / 60:.0f} min. Where a pod cannot start (its image, a quota, a "
                f"queue), `kubectl -n {api.at.namespace} get pods` and `kubectl describe` say why"
            )
        sleep(every_s)
