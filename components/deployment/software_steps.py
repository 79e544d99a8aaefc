"""The rollout of the agent's software: it begins, or goes one step on. Rules over values; the signer signs.

The plan lies in the order (`AgentOrder.rollout`), as that of a release lies in the desired state. Devices read the
waves that are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from components.deployment.rollout_steps import Asked, StepRefused, said_by, step_of, waves_of
from inspection.agent_release import AgentRelease
from inspection.codec import Document, canonical_json
from inspection.documents import AgentOrder, DesiredState, Wave
from inspection.rollout import RolloutState, SoftwarePlan, Stage, Window, zone_of

MAX_STAGES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareWaves(Document):
    """By which stages software goes out, and when one may be opened: the rollout policy of a use case, as a request."""

    stages: tuple[Stage, ...]
    windows: tuple[Window, ...] = ()
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise ValueError(f"expected 1 to {MAX_STAGES} stages, but got {len(self.stages)}")
        if any(stage.min_frames for stage in self.stages):
            raise ValueError("a stage of the agent's software asks for no frames: devices count them for releases")
        zone_of(self.time_zone)

    @classmethod
    def from_value(cls, given: Mapping[str, Any]) -> SoftwareWaves:
        """Read a part of a request. Raises DocumentError, which is a ValueError."""
        return cls.from_json(canonical_json(given))


def begin_software(
    current: DesiredState,
    release: AgentRelease,
    waves: SoftwareWaves,
    *,
    probation_s: float,
    again: bool,
    by: str,
    now: datetime,
) -> DesiredState:
    """The desired state that rolls software out by stages; the current one where that is under way already.

    While the rollout of a release has stages left to open, no stage of the software is open: both at once would make it
    unclear what a fault comes from. The reconciler then opens the first stage.

    Raises:
        StepRefused: its rollout was stopped before.
    """
    digest, before = release.digest, current.agent
    plan = before.rollout if before is not None else None
    if plan is not None and plan.release_digest == digest and not again:
        if plan.state is RolloutState.STOPPED:
            raise StepRefused(
                f"the rollout of the agent's software {plan.version} was stopped{said_by(plan)}: {plan.reason}; "
                "where it is right after all, order it with --again"
            )
        return current
    sequence = current.sequence + 1
    waits = current.rollout is not None and current.rollout.opens_more
    begun = SoftwarePlan(
        version=release.version,
        release_digest=digest,
        former_digest=_former(before, digest),
        stages=waves.stages,
        open_stage=0,
        opened_at=now,
        began_at=now,
        state=RolloutState.WAITING if waits else RolloutState.RUNNING,
        by=by,
        windows=waves.windows,
        time_zone=waves.time_zone,
    )
    known = before is not None and any(wave.release_digest == digest for wave in before.waves)
    since = before.since if before is not None and known and not again else sequence
    order = AgentOrder(waves=_waves(begun), since=since, probation_s=probation_s, rollout=begun)
    return replace(current, sequence=sequence, again=current.asked_since, agent=order)


def take_software(current: DesiredState, asked: Asked, now: datetime) -> DesiredState:
    """The desired state after one step of the rollout of its software.

    Raises:
        StepRefused: there is none, the step does not fit, or the desired state has changed since the caller looked.
    """
    order = current.agent
    plan = order.rollout if order is not None else None
    if order is None or plan is None:
        raise StepRefused(
            f"{current.use_case}: no software of the agent is rolled out by stages, so there is no rollout to "
            f"{asked.step}; see: kizu agent order"
        )
    where = f"{current.use_case} agent {plan.version}"
    after = step_of(plan, current.sequence, asked, now, where)
    return replace(
        current,
        sequence=current.sequence + 1,
        again=current.asked_since,
        agent=replace(order, waves=_waves(after), rollout=after),
    )


def _waves(plan: SoftwarePlan) -> tuple[Wave, ...]:
    """What the plan asks of which devices now. Where it asks nobody, a wave that includes no device stands for that."""
    return waves_of(plan) or (Wave(devices=(), release_digest=plan.release_digest),)


def _former(before: AgentOrder | None, digest: str) -> str | None:
    """The last software that all devices were asked to run; None where that is none, or the release itself."""
    if before is None:
        return None
    plan = before.rollout
    if plan is None:
        last = before.waves[-1]
        former = last.release_digest if last.percent == 100.0 else None
    elif plan.state in (RolloutState.STOPPED, RolloutState.WAITING) or not (
        plan.is_last or plan.state is RolloutState.DONE
    ):
        former = plan.former_digest
    else:
        former = plan.release_digest
    return former if former != digest else None
