"""One pass over the rollouts of all groups: judge each, and ask the signer for the step that follows. Ports only."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from inspection.documents import DesiredState
from inspection.rollout import RolloutPlan, RolloutState
from reconciler.rollout import judge_rollout
from reconciler.rules import Publisher, Reading
from reconciler.software import judge_software
from reconciler.stages import Judgement, RolloutAct

_log = logging.getLogger(__name__)

BY: Final = "reconciler"
FAILED: Final = "failed"
DONE: Final = "done"
_STEPS: Final = {
    RolloutAct.ADVANCE: "advance",
    RolloutAct.FINISH: "finish",
    RolloutAct.PAUSE: "pause",
    RolloutAct.STOP: "stop",
}


class Step(Protocol):
    """Has a rollout take one step; refused where the desired state has another sequence by now."""

    def __call__(
        self,
        use_case: str,
        group: str,
        sequence: int,
        step: str,
        *,
        by: str,
        reason: str = ...,
        devices: Iterable[str] = ...,
        paused_for: str = ...,
    ) -> int:
        """Returns the new sequence."""


class Steps(Protocol):
    """The signer, which takes the rollout of a release one step on."""

    @property
    def rollout(self) -> Step: ...  # noqa: D102


class SoftwareSteps(Protocol):
    """The signer, which takes the rollout of a group's software one step on."""

    @property
    def rollout_agent(self) -> Step: ...  # noqa: D102


class Versions(Protocol):
    """The registry's versions, with how their rollout ended."""

    def rollout_of(self, model: str, version: int) -> str:
        """Return `failed` or `done`; '' where no rollout has ended."""

    def note_rollout(self, model: str, version: int, how: str, reason: str) -> None:
        """Note how the rollout of a version ended, and why."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One group's rollout, of a release or of software, after a pass.

    desired: as it was judged. acted: whether the signer has taken the step. error: why not, where it was tried.
    """

    use_case: str
    group: str
    desired: DesiredState
    judgement: Judgement
    acted: bool = False
    error: str = ""


def judge_all(publisher: Publisher, reading: Reading, now: datetime) -> list[Judged]:
    """Judge the rollout of each group for which something is desired; changes nothing."""
    return [
        Judged(use_case, group, desired, judge_rollout(group, desired, reading.reports, reading.unread, now))
        for use_case, group in publisher.desired_names()
        if (desired := publisher.desired(use_case, group)) is not None
    ]


def judge_all_software(publisher: Publisher, reading: Reading, now: datetime) -> list[Judged]:
    """Judge the rollout of the agent's software of each group that has one; changes nothing."""
    return [
        Judged(use_case, group, desired, judge_software(group, desired, reading.reports, reading.unread, now))
        for use_case, group in publisher.desired_names()
        if (desired := publisher.desired(use_case, group)) is not None
        and desired.agent is not None
        and desired.agent.rollout is not None
    ]


def rollout_pass(
    publisher: Publisher, reading: Reading, steps: Steps, versions: Versions, now: datetime
) -> list[Judged]:
    """Judge each rollout and take the step that follows. What cannot be done for one group costs no other one.

    Each pass begins with what the desired states say. A pass that was killed between a step and its note therefore
    leaves nothing undone: the next pass finds the stopped rollout and notes it.
    """
    return [_act(item, steps, versions) for item in judge_all(publisher, reading, now)]


def software_pass(publisher: Publisher, reading: Reading, steps: SoftwareSteps, now: datetime) -> list[Judged]:
    """Judge each rollout of software and take the step that follows. A step of a release's rollout must have been read.

    What cannot be done for one group costs no other one.
    """
    found = []
    for item in judge_all_software(publisher, reading, now):
        step = _STEPS.get(item.judgement.act)
        try:
            if step is not None:
                _take(steps.rollout_agent, item, step)
        except Exception as e:
            _log.warning("%s, group %s: cannot %s software: %s", item.use_case, item.group, step, e)
            found.append(replace(item, error=str(e)))
        else:
            found.append(replace(item, acted=step is not None))
    return found


def _take(ask: Step, item: Judged, step: str) -> None:
    judgement = item.judgement
    ask(
        item.use_case,
        item.group,
        item.desired.sequence,
        step,
        by=BY,
        reason=judgement.why,
        devices=judgement.devices,
        paused_for=str(judgement.paused_for or ""),
    )
    _log.info("%s, group %s: %s: %s", item.use_case, item.group, step, judgement.why)


def _act(item: Judged, steps: Steps, versions: Versions) -> Judged:
    plan, judgement = item.desired.rollout, item.judgement
    if plan is None:
        return item
    step = _STEPS.get(judgement.act)
    try:
        if step is not None:
            _take(steps.rollout, item, step)
        ended = _ended(plan, judgement)
        if ended is not None and versions.rollout_of(item.use_case, plan.version) != ended[0]:
            versions.note_rollout(item.use_case, plan.version, *ended)
    except Exception as e:
        # The signer and MLflow have errors of their own kinds; whichever it was, the other groups go on.
        _log.warning("%s, group %s: cannot %s: %s", item.use_case, item.group, step or "note the end", e)
        return replace(item, error=str(e))
    return replace(item, acted=step is not None)


def _ended(plan: RolloutPlan, judgement: Judgement) -> tuple[str, str] | None:
    """How a rollout has ended, and why, after the step of this pass; None while it has not."""
    if judgement.act is RolloutAct.STOP:
        return FAILED, judgement.why
    if judgement.act is RolloutAct.FINISH:
        return DONE, judgement.why
    if plan.state is RolloutState.STOPPED:
        return FAILED, f"{plan.reason} (by {plan.by})" if plan.by != BY else plan.reason
    return (DONE, plan.reason) if plan.state is RolloutState.DONE else None
