"""A rollout over three devices: the agent's own updates, the signer's steps, the reconciler's rule; no server."""

import pytest

from components.deployment.rollout_steps import Asked, Order, Step, begin, take
from components.use_case import Rollout
from components.use_case.policy import LinePolicy
from edge_agent.ota.trial import TrialResult
from edge_agent.status import failures_to_report
from inspection import DesiredState, Reported, Verdict, Wave
from inspection.rollout import PausedFor, RolloutState
from reconciler.rollout import judge_rollout
from reconciler.stages import RolloutAct
from tests.edge_agent.test_ota_driver import FIRST, NOW, SECOND, Bench, inspect

STEPS = {
    RolloutAct.ADVANCE: Step.ADVANCE, RolloutAct.FINISH: Step.FINISH, RolloutAct.STOP: Step.STOP,
    RolloutAct.PAUSE: Step.PAUSE,
}  # fmt: skip
BUILT = {built.digest: built for built in (FIRST, SECOND)}
POLICY = Rollout(
    group="line1", canary=("canary",), waves=(100.0,), probation_s=60.0, min_frames=60,
    line=LinePolicy(max_fail_change=0.2, min_frames=50),
)  # fmt: skip


class Fleet:
    """Three devices that run the first release, and the desired state of their group, as bytes on the wire."""

    def __init__(self, folder):
        self.devices = {name: Bench(folder / name, name=name) for name in ("canary", "d1", "d2")}
        for device in self.devices.values():
            device.settle(FIRST)
        self.desired = DesiredState(
            sequence=4, use_case="tags", waves=(Wave(release_digest=FIRST.digest, percent=100.0),), probation_s=60.0
        )
        self.ran = {name: set() for name in self.devices}

    def order(self, built):
        self.desired = begin(built.release, POLICY, self.desired, Order(), NOW)

    def round(self, verdicts):
        """Each device polls and inspects sixty frames; then one pass. verdicts: by digest, over and over."""
        for name, device in self.devices.items():
            device.desired = DesiredState.from_json(self.desired.to_json())
            device.updates.poll()
            running = BUILT[device.running()]
            for index in range(60):
                kinds = verdicts.get(running.digest, [Verdict.PASS])
                inspect(device, running, 1, kinds[index % len(kinds)])
            device.pass_probation()
            self.ran[name].add(device.running())
        if self.desired.rollout is None:
            return
        judgement = judge_rollout("line1", self.desired, self.reports(), (), NOW)
        if (step := STEPS.get(judgement.act)) is not None:
            why, paused_for = judgement.why, judgement.paused_for or PausedFor.PERSON
            asked = Asked(step, self.desired.sequence, "reconciler", why, paused_for=paused_for)
            self.desired = take(self.desired, asked, NOW)

    def reports(self):
        return [
            Reported(
                device=name, group="line1", use_case="tags", state="running", reported_at=NOW,
                running_release=device.running(), pending_release=device.updates.state.pending,
                failures=failures_to_report(device.updates.state, NOW), pinned_release="",
                tallies=device.tallies.lines(),
            )
            for name, device in self.devices.items()
        ]  # fmt: skip

    def run(self, verdicts=None):
        for _ in range(6):
            self.round(verdicts or {})
        return self.desired.rollout.state, [device.running() for device in self.devices.values()]


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path)


def test_a_good_release_reaches_the_canary_and_then_all(fleet):
    """Each device takes it once, through trial and probation."""
    fleet.round({})
    fleet.order(SECOND)
    fleet.round({})
    assert [len(device.tried) for device in fleet.devices.values()] == [2, 1, 1], "the canary alone has tried it"
    assert fleet.run() == (RolloutState.DONE, [SECOND.digest] * 3)


def test_a_canary_without_frames_of_the_former_release_asks_a_person_who_may_go_on(fleet):
    """The devices were set up a moment ago: nothing tells whether the release is worse, so no wave opens by itself."""
    fleet.order(SECOND)
    assert fleet.run() == (RolloutState.PAUSED, [SECOND.digest, FIRST.digest, FIRST.digest])
    assert "not compared with the former release: fail (0 of 50 frames" in fleet.desired.rollout.reason
    fleet.desired = take(fleet.desired, Asked(Step.RESUME, fleet.desired.sequence, "qa", "I looked at it"), NOW)
    assert fleet.run() == (RolloutState.DONE, [SECOND.digest] * 3)


def test_a_release_that_the_canary_refuses_reaches_nobody_else(fleet):
    """Its trial fails there; the others never fetch it, and the canary runs the former release."""
    fleet.devices["canary"].result = TrialResult(False, "golden-mismatch", "another detection")
    fleet.order(SECOND)
    assert fleet.run() == (RolloutState.STOPPED, [FIRST.digest] * 3)
    assert "canary: golden-mismatch" in fleet.desired.rollout.reason
    assert [len(device.tried) for device in fleet.devices.values()] == [2, 1, 1]


def test_a_release_that_is_worse_on_the_line_goes_back_from_the_canary(fleet):
    """It passed trial and probation; the verdicts of the line stop it, and the canary takes the former one again."""
    some_fail = [Verdict.FAIL, *[Verdict.PASS] * 11]
    verdicts = {FIRST.digest: some_fail, SECOND.digest: [Verdict.FAIL, Verdict.PASS]}
    fleet.round(verdicts)
    fleet.order(SECOND)
    assert fleet.run(verdicts) == (RolloutState.STOPPED, [FIRST.digest] * 3)
    assert "worse on the line: fail" in fleet.desired.rollout.reason
    assert fleet.ran["canary"] == {FIRST.digest, SECOND.digest}
    assert fleet.ran["d1"] == fleet.ran["d2"] == {FIRST.digest}
