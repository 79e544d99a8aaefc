"""What a desired state says that the reconciler did to a rollout: the decision that is kept, and whom to tell. Pure.

Both are read from the state that the signer published, not from the act of a pass. So a pass that was killed right
after the signer took a step loses neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from inspection.documents import DesiredState
from inspection.rollout import PausedFor, RolloutPlan, RolloutState, SoftwarePlan, StagedPlan
from reconciler.rollout_pass import BY
from reconciler.view import Act, Notice, Topic


@dataclass(frozen=True, slots=True)
class RolloutNote:
    """What the reconciler did. subject: the same for the same step. notice: None where nobody has to know."""

    act: Act
    subject: str
    why: str
    notice: Notice | None = None


def note_of(group: str, desired: DesiredState, language: str) -> RolloutNote | None:
    """The note about the latest step of a rollout; None where the reconciler took none, or a person took it.

    language: of the notice.
    """
    plan = desired.rollout
    if plan is None:
        return None
    name = f"version {plan.version}, began {plan.began_at:%Y-%m-%dT%H:%M:%S}"
    if plan.state is RolloutState.STOPPED and plan.by == BY:
        return RolloutNote(
            Act.STOP, name, plan.reason, _notice(Topic.ROLLOUT_STOPPED, group, desired, plan, language, plan.reason)
        )
    if plan.state is RolloutState.PAUSED and plan.paused_for is not PausedFor.PERSON:
        return RolloutNote(
            Act.PAUSE,
            f"{name}, sequence {desired.sequence}",
            plan.reason,
            _notice(Topic.ROLLOUT_PAUSED, group, desired, plan, language, plan.reason),
        )
    if plan.state is RolloutState.DONE:
        return RolloutNote(Act.ADVANCE, f"{name}, whole", plan.reason or "each stage has had what it asked")
    if plan.state is RolloutState.RUNNING and plan.open_stage > 0:
        opened = f"stage {plan.open_stage + 1} of {len(plan.stages)} was opened at {plan.opened_at:%Y-%m-%d %H:%M} UTC"
        return RolloutNote(Act.ADVANCE, f"{name}, stage {plan.open_stage + 1}", opened)
    return None


def software_note_of(group: str, desired: DesiredState, language: str) -> RolloutNote | None:
    """The note about the latest step of the rollout of the agent's software; None as `note_of`."""
    plan = desired.agent.rollout if desired.agent is not None else None
    if plan is None:
        return None
    name = f"agent {plan.version} ({plan.release_digest[:12]}), began {plan.began_at:%Y-%m-%dT%H:%M:%S}"
    if plan.state is RolloutState.STOPPED and plan.by == BY:
        notice = _software_notice(Topic.SOFTWARE_STOPPED, group, desired, plan, language)
        return RolloutNote(Act.STOP, name, plan.reason, notice)
    if plan.state is RolloutState.PAUSED and plan.paused_for is not PausedFor.PERSON:
        notice = _software_notice(Topic.SOFTWARE_PAUSED, group, desired, plan, language)
        return RolloutNote(Act.PAUSE, f"{name}, stage {plan.open_stage + 1}", plan.reason, notice)
    if plan.state is RolloutState.DONE:
        return RolloutNote(Act.ADVANCE, f"{name}, whole", plan.reason or "each stage has had what it asked")
    if plan.state is RolloutState.RUNNING and plan.by == BY:
        opened = f"stage {plan.open_stage + 1} of {len(plan.stages)} was opened at {plan.opened_at:%Y-%m-%d %H:%M} UTC"
        return RolloutNote(Act.ADVANCE, f"{name}, stage {plan.open_stage + 1}", opened)
    return None


def _software_notice(topic: Topic, group: str, desired: DesiredState, plan: SoftwarePlan, language: str) -> Notice:
    return Notice(
        use_case=desired.use_case,
        language=language,
        topic=topic,
        subject=f"{group}/{plan.release_digest[:12]}/{plan.began_at:%Y-%m-%dT%H:%M:%S}/{plan.open_stage + 1}",
        values={"agent": plan.version, "group": group, "why": _why(plan, plan.reason)},
    )


def _why(plan: StagedPlan, why: str) -> str:
    devices = ", ".join(plan.devices)
    return f"{why} ({devices})" if devices and devices not in why else why


def _notice(topic: Topic, group: str, desired: DesiredState, plan: RolloutPlan, language: str, why: str) -> Notice:
    return Notice(
        use_case=desired.use_case,
        language=language,
        topic=topic,
        subject=f"{group}/{plan.version}/{desired.sequence}",
        values={"version": str(plan.version), "group": group, "why": _why(plan, why)},
    )
