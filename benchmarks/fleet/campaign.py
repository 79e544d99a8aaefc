"""One campaign: a release goes out to a simulated fleet, by the signer's steps and the reconciler's rule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from benchmarks.fleet.device import EPOCH, Behaviour, SimulatedDevice
from components.deployment.rollout_steps import Asked, Order, Step, begin, take
from components.use_case import Rollout
from components.use_case.policy import LinePolicy
from inspection.decode import Nms
from inspection.documents import Approval, DesiredState, InputSpec, ModelFile, Release, Reported, Sampling, Wave
from inspection.rollout import RolloutState
from inspection.verdict import ClassThreshold
from reconciler.rollout import judge_rollout
from reconciler.stages import Judgement, RolloutAct

OLD: Final = "0" * 64
REPORT_S: Final = 60.0
"""How often a device reports without a change, and how often it polls."""
PASS_S: Final = 60.0
"""How often the reconciler makes a pass."""
TICK_S: Final = 5
LONGEST_S: Final = 12 * 3600.0
FORMER: Final = Behaviour(fail=0.04, uncertain=0.02)
POLICY: Final = Rollout(
    canary=("d0", "d1"), waves=(1.0, 10.0, 100.0), probation_s=120.0, min_s=300.0, min_frames=2000,
    success_share=0.9, failure_share=0.05,
    line=LinePolicy(max_fail_change=0.05, max_review_change=0.05, max_latency_ratio=1.5, min_frames=1000),
)  # fmt: skip
_STEPS: Final = {
    RolloutAct.ADVANCE: Step.ADVANCE, RolloutAct.FINISH: Step.FINISH, RolloutAct.PAUSE: Step.PAUSE,
    RolloutAct.STOP: Step.STOP,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """How a campaign ended.

    reached: on how many of the `others`, the devices besides the canary, the release has inspected. to_stop_s: from the
    first report that shows it to the stop, in seconds; None where it was not stopped. took_s: to the end.
    """

    state: RolloutState
    reached: int
    others: int
    to_stop_s: float | None
    took_s: float
    why: str


def release() -> Release:
    """The release that goes out; its network is never loaded."""
    return Release(
        use_case="part", version=2, models=(ModelFile(precision="fp32", file="m.onnx", sha256="b" * 64, bytes=1),),
        preprocess=InputSpec(width=64, height=64), classes=("x",), thresholds={"x": ClassThreshold(0.5, 0.25)},
        nms=Nms(), sampling=Sampling(uncertain_low=0.1, uncertain_high=0.6), latency_budget_ms=500.0, probation_s=120.0,
        golden=(), min_agent_version="0.1.0", dataset_digest="b" * 64, training_run="r", evaluation_digest="b" * 64,
        approval=Approval(by="qa", at=EPOCH, model_sha256="b" * 64),
    )  # fmt: skip


def run(
    new: Behaviour, seed: int, *, devices: int = 200, offline: float = 0.03, policy: Rollout = POLICY
) -> Ended:  # fmt: skip
    """Run a campaign to its end, in virtual time.

    Args:
        new: what the release does on the line.
        devices: how many there are. offline: which share is away, for an hour or for all of the campaign.
    """
    random = np.random.default_rng(seed)
    order, digest = release(), release().digest
    does = {OLD: FORMER, digest: new}
    fleet = [
        SimulatedDevice(f"d{i}", (OLD, FORMER), float(random.random()), float(random.uniform(0.5, 2.0)), random)
        for i in range(devices)
    ]
    away = [0.0] * devices
    for index in range(len(policy.canary), devices):
        if random.random() < offline:
            away[index] = 3600.0 if random.random() < 0.5 else LONGEST_S
    due_s = [float(value) for value in random.uniform(0.0, REPORT_S, devices)]
    before = DesiredState(
        sequence=1, use_case="part", waves=(Wave(release_digest=OLD, percent=100.0),), probation_s=120.0
    )
    desired = begin(order, policy, before, Order(), _at(0.0))
    seen = {device.name: device.report(0.0) for device, hours in zip(fleet, away, strict=True) if not hours}
    asked, passes = policy.to_probation(), 0
    while passes * PASS_S < LONGEST_S:
        passes += 1
        came: list[tuple[float, Reported]] = []
        for tick in range(int((passes - 1) * PASS_S), int(passes * PASS_S), TICK_S):
            for index, device in enumerate(fleet):
                if due_s[index] <= tick >= away[index]:
                    due_s[index] = tick + REPORT_S
                    device.step(tick, desired, does, asked)
                    came.append((float(tick), device.report(tick)))
        now_s = passes * PASS_S
        known = {**seen, **{report.device: report for _, report in came}}
        judgement = _judged(desired, known, now_s)
        if (step := _STEPS.get(judgement.act)) is not None:
            after = take(desired, Asked(step, desired.sequence, "reconciler", judgement.why), _at(now_s))
            assert after.rollout is not None
            if after.rollout.state is not RolloutState.RUNNING:
                stopped = after.rollout.state is RolloutState.STOPPED
                to_stop_s = now_s - _evident_s(desired, seen, came, now_s) if stopped else None
                return _ended(after.rollout.state, fleet, policy, digest, to_stop_s, now_s, judgement.why)
            desired = after
        seen = known
    return _ended(RolloutState.RUNNING, fleet, policy, digest, None, LONGEST_S, "it did not end")


def _evident_s(
    desired: DesiredState, seen: dict[str, Reported], came: list[tuple[float, Reported]], now_s: float
) -> float:
    """When the first report came that stops the rollout."""
    known = dict(seen)
    for at_s, report in came:
        known[report.device] = report
        if _judged(desired, known, at_s).act is RolloutAct.STOP:
            return at_s
    return now_s


def _ended(
    state: RolloutState, fleet: list[SimulatedDevice], policy: Rollout, digest: str, to_stop_s: float | None,
    took_s: float, why: str,
) -> Ended:  # fmt: skip
    others = [device for device in fleet if device.name not in policy.canary]
    reached = sum(digest in device.ran for device in others)
    return Ended(state, reached, len(others), to_stop_s, took_s, why)


def _judged(desired: DesiredState, reports: dict[str, Reported], now_s: float) -> Judgement:
    return judge_rollout("line", desired, reports.values(), (), _at(now_s))


def _at(now_s: float) -> datetime:
    return EPOCH + timedelta(seconds=now_s)
