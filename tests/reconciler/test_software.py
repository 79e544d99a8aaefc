"""When the rollout of the agent's software goes on, stops, pauses or waits, over plans and reports."""

from dataclasses import replace
from datetime import timedelta

import pytest

from components.deployment.rollout_steps import Asked, Step
from components.deployment.software_steps import take_software
from components.stores.fleet.reports import UnreadReport
from inspection.documents import AgentOrder, Wave
from inspection.report_parts import AgentState, FailedRelease
from inspection.rollout import PausedFor, RolloutState, SoftwarePlan, Stage
from reconciler.rollout import judge_rollout
from reconciler.rollout_pass import software_pass
from reconciler.software import judge_software
from reconciler.stages import Outcome, RolloutAct
from tests.reconciler.rollouts import NEW, NOW, OLD, PLAN, desired, device

WAIT, ADVANCE, STOP, PAUSE, FINISH, NOTHING = (
    RolloutAct.WAIT, RolloutAct.ADVANCE, RolloutAct.STOP, RolloutAct.PAUSE, RolloutAct.FINISH, RolloutAct.NOTHING,
)  # fmt: skip
ONE, TWO = "c" * 64, "d" * 64
SINCE = 4
SOFTWARE = SoftwarePlan(
    version="0.2.0", release_digest=TWO, former_digest=ONE, open_stage=0, opened_at=NOW - timedelta(hours=1),
    stages=(Stage(devices=("canary",)), Stage(percent=50.0), Stage(percent=100.0)), began_at=NOW - timedelta(hours=1),
)  # fmt: skip


def ordered(plan=SOFTWARE, release=None):
    """The desired state with this software, and with this plan of a release."""
    agent = AgentOrder(waves=(Wave(release_digest=TWO, percent=100.0),), since=SINCE, rollout=plan)
    return replace(desired(release), agent=agent)


def agent(runs=TWO, *, state="kept", reason="", wanted=TWO, failure=None, **more):
    """What a device says of its software. failure: (reason, sequence, transient, attempts), or its first values."""
    failures = {}
    if failure:
        why, sequence, transient, attempts = (*failure, *(SINCE, False, 1)[len(failure) - 1 :])
        failures[TWO] = FailedRelease(reason=why, at=NOW, sequence=sequence, transient=transient, attempts=attempts)
    given = {"failures": failures, "refused": {digest: item.reason for digest, item in failures.items()}} | more
    return AgentState(
        version="0.2.0", slot="b", state=state, release_digest=runs, wanted_digest=wanted, reason=reason, **given
    )


def report(software=None, name="canary", *, minutes_ago=1.0, **fields):
    return device(name, NEW, minutes_ago=minutes_ago, agent=software or agent(), **fields)


def judged(*reports, plan=SOFTWARE, release=None, unread=(), now=NOW):
    return judge_software("line", ordered(plan, release), reports, unread, now)


def staged(**asks):
    return replace(SOFTWARE, stages=(replace(SOFTWARE.stages[0], **asks), *SOFTWARE.stages[1:]))


OLDER = {"failures": None, "refused": {TWO: "did-not-stay-up: three starts"}}


@pytest.mark.parametrize(
    ("software", "act", "said"),
    [
        (agent(), ADVANCE, "the canary is complete: 1 succeeded"),
        (agent(state="probation"), WAIT, "1 on-the-way"),
        (agent(ONE, reason="fetching: dd"), WAIT, "1 on-the-way"),
        (agent(ONE, wanted=ONE), WAIT, "1 on-the-way"),
        (agent(ONE, failure=("did-not-stay-up: three starts",)), STOP, "canary: did-not-stay-up: three starts"),
        (agent(ONE, failure=("cannot-start: no module named cv2",)), STOP, "cannot-start"),
        (agent(ONE, failure=("cannot-start: x", SINCE - 1)), WAIT, "1 on-the-way"),
        (agent(ONE, failure=("too-much-memory: 900 MiB", SINCE, True)), WAIT, "1 on-the-way"),
        (agent(ONE, failure=("too-much-memory: 900 MiB", SINCE, True, 3)), STOP, "too-much-memory"),
        (agent(ONE, state="standby", reason="standby: slot b did not stay up"), STOP, "standby: slot b"),
        (agent(ONE, **OLDER), STOP, "did-not-stay-up"),
        (agent(state="fixed"), ADVANCE, "complete"),
        (agent(ONE, reason="no-build: no wheels for Python 3.12"), PAUSE, "no device of the canary can take it"),
    ],
    ids=["kept", "on probation", "fetching", "has not seen it", "went back", "its trial failed", "before the order",
         "a cause that may pass", "it did not pass", "did not stay up later", "an agent of before", "a container",
         "not for this device"],
)  # fmt: skip
def test_what_follows_from_what_devices_report_of_their_software(software, act, said):
    """One stage is open; the software of its devices decides."""
    judgement = judged(report(software, sequence_seen=SINCE))
    assert (judgement.act, said in judgement.why) == (act, True), judgement.why


def test_a_refusal_that_an_agent_of_before_reports_counts_once_it_has_seen_the_order():
    """Such an agent does not say under which order it refused: before it saw this one, it was another one's."""
    assert judged(report(agent(ONE, **OLDER), sequence_seen=SINCE - 1)).act is WAIT


@pytest.mark.parametrize(
    ("plan", "reports", "act", "said"),
    [
        (SOFTWARE, [], WAIT, "no device of group line has reported yet"),
        (SOFTWARE, [report(name="d1")], WAIT, "no device of it has reported yet"),
        (SOFTWARE, [report(agent(ONE), minutes_ago=60)], WAIT, "1 late"),
        (SOFTWARE, [device(running=NEW)], PAUSE, "its agent does not say which software it runs"),
        (staged(min_s=7200.0), [report()], WAIT, "is open for 3600 of 7200 s"),
        (staged(by_hand=True), [report()], PAUSE, "a person opens the next"),
        (replace(staged(by_hand=True), go_on=True), [report()], ADVANCE, "complete"),
        (replace(SOFTWARE, open_stage=2), [report(), report(name="d1")], FINISH, "the last, is complete"),
        (replace(SOFTWARE, state=RolloutState.PAUSED, by="qa", reason="hm"), [report()], NOTHING,
         "paused by qa: hm; run: kizu agent resume, or: kizu agent stop"),
        (replace(SOFTWARE, state=RolloutState.STOPPED), [report(agent(ONE, failure=("bad: x",)))], NOTHING, "stopped"),
        (SOFTWARE, [report(problem="camera top: gone")], PAUSE, "kept it inspect nothing now: canary: camera top"),
        (replace(SOFTWARE, go_on=True), [report(problem="camera top: gone")], ADVANCE, "complete"),
        (replace(SOFTWARE, go_on=True), [report(agent(ONE, reason="not-launched: x"))], ADVANCE, "complete: 1 held"),
    ],
)  # fmt: skip
def test_a_stage_asks_of_software_what_it_asks_of_a_release(plan, reports, act, said):
    """Least time, shares, and a person; what the reports do not tell is asked."""
    judgement = judged(*reports, plan=plan)
    assert (judgement.act, said in judgement.why) == (act, True), judgement.why
    if act is PAUSE and not plan.stage.by_hand:
        assert judgement.paused_for is PausedFor.INCONCLUSIVE


def test_a_device_that_cannot_take_the_software_holds_up_no_other_one():
    """It is held, and the shares are of the others; so it is with a report that cannot be read."""
    last = replace(SOFTWARE, open_stage=2)
    held = report(agent(ONE, reason="no-way-back: form 3"), "d1")
    judgement = judged(report(), held, plan=last, unread=[UnreadReport("d2", "no JSON")])
    assert judgement.act is FINISH
    assert [item.outcome for item in judgement.progress.devices] == [Outcome.SUCCEEDED, Outcome.HELD, Outcome.UNREAD]


WAITING = replace(SOFTWARE, state=RolloutState.WAITING)


@pytest.mark.parametrize(
    ("release", "reports", "act", "said"),
    [
        (PLAN, [device("canary", OLD)], WAIT, "the rollout of version 7 comes first"),
        (PLAN, [device("canary", NEW)], WAIT, "the rollout of version 7 comes first"),
        (replace(PLAN, state=RolloutState.PAUSED), [device("canary", NEW)], WAIT, "version 7 comes first"),
        (
            PLAN,
            [device("canary", OLD, reason="waits-for-agent: it needs agent 0.2.0")],
            ADVANCE,
            "the canary is opened",
        ),
        (replace(PLAN, open_stage=2), [device("canary", OLD)], ADVANCE, "the canary is opened"),
        (replace(PLAN, state=RolloutState.STOPPED), [device("canary", OLD)], ADVANCE, "the canary is opened"),
        (None, [device("canary", OLD)], ADVANCE, "the canary is opened"),
    ],
    ids=["on the way", "more stages", "paused", "it needs the software", "last stage", "stopped", "no release"],
)
def test_software_begins_once_the_release_opens_no_more_stages_or_needs_it(release, reports, act, said):
    """A release that waits for newer agents would wait for ever if the software waited for it."""
    judgement = judged(*reports, plan=WAITING, release=release)
    assert (judgement.act, said in judgement.why) == (act, True), judgement.why


def test_a_release_opens_no_stage_while_software_has_stages_left_to_open():
    """It still stops; once the software has opened its last stage, the release goes on."""

    def release(plan, *reports):
        return judge_rollout("line", ordered(plan, PLAN), reports, (), NOW)

    judgement = release(SOFTWARE, device())
    assert (judgement.act, "waits for the rollout of the agent's software 0.2.0" in judgement.why) == (WAIT, True)
    assert release(SOFTWARE, device(running=OLD, failure=("wrong-golden: no",))).act is STOP
    for plan in (replace(SOFTWARE, open_stage=2), replace(SOFTWARE, state=RolloutState.STOPPED), WAITING):
        assert release(plan, device()).act is ADVANCE


class World:
    """The signer in memory."""

    def __init__(self, *reports):
        self.state, self.reports, self.unread, self.steps = ordered(), reports, (), []

    def desired_names(self):
        return [("metal-tag", "line")]

    def desired(self, use_case, group):
        return self.state

    def rollout_agent(self, use_case, group, sequence, step, *, by, reason="", devices=(), paused_for=""):
        asked = Asked(Step(step), sequence, by, reason, tuple(devices), PausedFor(paused_for or "person"))
        self.state = take_software(self.state, asked, NOW)
        self.steps.append(step)
        return self.state.sequence


def test_software_goes_through_all_stages_by_passes_and_bad_software_is_stopped_by_its_canary():
    """Two steps, then the end; further passes do nothing. A refusal of the canary stops it, with its reason."""
    good = World(report(), report(name="d1"), report(name="d2"))
    bad = World(report(agent(ONE, failure=("unhealthy: silent for 31 s",))), report(agent(ONE), "d1"))
    for _ in range(5):
        for world in (good, bad):
            software_pass(world, world, world, NOW)
    assert good.steps == ["advance", "advance", "finish"]
    assert (bad.steps, bad.state.agent.rollout.state) == (["stop"], RolloutState.STOPPED)
    assert "unhealthy: silent for 31 s" in bad.state.agent.rollout.reason
    assert bad.state.agent.release_for("canary") == ONE


def test_a_step_of_software_that_the_signer_refuses_is_told_and_costs_no_other_group():
    """The next pass sees the newer state."""
    world = World(report())
    stale = world.state
    world.state = replace(stale, sequence=stale.sequence + 1)
    world.desired = lambda use_case, group: stale
    (item,) = software_pass(world, world, world, NOW)
    assert (item.acted, "at 6 by now" in item.error) == (False, True)
