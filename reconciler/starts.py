"""Starts a run under a claim: once, whoever else tries, and whatever answer is lost.

The order is that of `components.stores.objects.claims`: the claim is made, renewed, the run is started with the claim
as its label, and the claim gets the run's id. Whoever dies between two of these acts leaves a claim that another caller
may take over after ten minutes, once it has looked for a run with that label.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from components.stores.objects.claims import ClaimLost, Claims, Held, Refused, Runs, RunState
from components.stores.objects.s3 import ObjectStoreError
from reconciler.view import Want

_log = logging.getLogger(__name__)


class StartError(RuntimeError):
    """A run was not started, or nobody knows whether it was; the message says what was asked of whom."""


class StartedRun(Protocol):
    """What a starter tells of a run that it starts."""

    def started(self, run_id: str) -> None:
        """The run is there. If this raises, the run must not go on, where the starter can end it."""

    def ended(self, state: RunState, reason: str) -> None:
        """The run has ended, and the starter has seen it."""

    def withdrawn(self) -> None:
        """The starter has ended the run itself, before its work was done: it may start again at once."""


class Starter(Protocol):
    """Starts pipelines: on this machine, or on Kubeflow Pipelines."""

    def runs(self, pipeline: str) -> Runs:
        """The runs of a pipeline."""

    def start(self, pipeline: str, arguments: Mapping[str, Any], claim: str, run: StartedRun) -> str:
        """Start a run whose label is the claim, call `run.started`, and return the run's id. It does not wait.

        Raises:
            StartError: it was not started, or the answer was lost.
        """


@dataclass(frozen=True, slots=True)
class Started:
    """A run that this call started under its claim."""

    run_id: str
    claim: str


class UnderClaim:
    """Writes into a held claim what becomes of its run."""

    def __init__(self, held: Held, clock: Callable[[], datetime]) -> None:
        self._held = held
        self._clock = clock

    def started(self, run_id: str) -> None:
        """Record the run's id. Raises ClaimLost where another caller took the claim over."""
        self._held.started(run_id, self._clock())

    def ended(self, state: RunState, reason: str) -> None:
        """Record how it ended. A failure is only logged, because the run's record says the same."""
        if not self._held.claim.run_id:
            return
        try:
            self._held.ended(state, reason, self._clock())
        except (ClaimLost, ObjectStoreError) as e:
            _log.warning("the claim %s does not say how the run ended: %s", self._held.name, e)

    def withdrawn(self) -> None:
        """Give the claim up, so that the next pass starts the run again."""
        try:
            self._held.withdraw()
        except ObjectStoreError as e:
            _log.warning("the claim %s could not be given up: %s; it is free in ten minutes", self._held.name, e)


def take(claims: Claims, want: Want, holder: str, runs: Runs, now: datetime) -> Held | Refused:
    """Take the claim of a wanted run.

    Raises:
        ObjectStoreError: the store did not answer.
    """
    if want.alone_below:
        return claims.take_only(want.claim, want.alone_below, holder, runs, now)
    return claims.take(want.claim, holder, runs, now)


def start_under_claim(
    claims: Claims,
    starter: Starter,
    want: Want,
    use_case_json: str,
    holder: str,
    clock: Callable[[], datetime],
) -> Started | Refused:
    """Start a wanted run, unless its claim says that it was started, is being started, or waits.

    Raises:
        ObjectStoreError, ClaimLost: the claim could not be written.
        StartError: the run could not be started, and no run with this label is there.
    """
    runs = starter.runs(want.pipeline)
    held = take(claims, want, holder, runs, clock())
    if isinstance(held, Refused):
        return held
    held.renew(clock())
    run = UnderClaim(held, clock)
    arguments = {"use_case": use_case_json, **want.arguments}
    try:
        return Started(starter.start(want.pipeline, arguments, held.name, run), held.name)
    except StartError:
        # The run may be there, and only the answer was lost.
        found = runs.find(held.name)
        if found is None or runs.state(found) not in (RunState.RUNNING, RunState.SUCCEEDED):
            raise  # none, or that of an earlier attempt
        run.started(found)
        return Started(found, held.name)
