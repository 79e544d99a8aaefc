"""The demo's rounds with a reconciler: what each asks, how it waits, and what its page says. Fakes at ports."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from components.use_case import load_use_case, parse_use_case
from demo.approver import Approver
from demo.choices import demo_use_case
from demo.round_plans import AFTER_STOP, CANARY, CANARY_PARTS, FRAMES_ASKED, OTHERS, SPOILT_ROUND, file_of, plan_of
from demo.rounds import refuse_what_was_stopped
from demo.rounds_page import page_of
from demo.state import DemoError, DemoOptions, GateFailed
from demo.summary import RoundFacts
from demo.turning import Standing, Training, Turning
from inspection.documents import Reported
from inspection.report_parts import LineTally
from inspection.rollout import RolloutState
from kizu.context import DEFAULT_USE_CASE
from reconciler.decisions import Decision
from reconciler.products import product_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BASE, _ = demo_use_case(DemoOptions(rounds=3))


def test_each_round_has_a_use_case_file_that_the_reconciler_takes():
    """The canary is first, labeling has a schedule, and a training when all images that are new since the last training
    are labelled."""
    for number, images, learned in ((1, 160, 0), (2, 181, 160), (3, 195, 181)):
        plan = plan_of(BASE, number, images, learned)
        read = parse_use_case(file_of(plan.use_case), where="the file")
        assert read == plan.use_case
        assert (read.retraining.min_new_labels, read.approvers) == (images - learned, ("approver",))
        assert (read.rollout.canary, read.rollout.waves) == ((CANARY,), (100.0,))
        assert FRAMES_ASKED <= 2 * CANARY_PARTS
        assert product_of(read).policy.labeling is not None


def test_only_one_round_is_spoilt_and_the_others_ask_what_the_shipped_use_case_asks():
    """The spoilt file opens the gates and cuts the training; the next round has the gates of before."""
    shipped = load_use_case(DEFAULT_USE_CASE)
    for number in (1, 2, 3):
        plan = plan_of(BASE, number, 200, 160)
        spoilt = number == SPOILT_ROUND
        assert bool(plan.spoilt) == spoilt
        assert (plan.use_case.gates == shipped.gates) != spoilt
        assert (plan.use_case.training == shipped.training) != spoilt
        assert not spoilt or plan.spoilt in plan.reason


class Line:
    """A line on which all that a round waits for comes at the second look."""

    def __init__(self, *, rollout=RolloutState.DONE, passed=True, approval="approved", never=""):
        self.rollout, self.passed, self.decision, self.never = rollout, passed, approval, never
        self.looks, self.did = {}, []
        self.digest, self.former = "b" * 64, "a" * 64

    def _second(self, name, value, before=None):
        self.looks[name] = self.looks.get(name, 0) + 1
        return value if self.looks[name] > 1 and name != self.never else before

    def automate(self, number, use_case):
        self.did.append(("automate", number, use_case))

    def approved(self):
        return self._second("approved", 170, 160)

    def trained(self):
        return self._second("trained", Training("r2", self.passed), Training("r1", True))

    def figures(self, run_id):
        return {"dataset": "c" * 64, "map50": 0.91, "escape": "0.00 (0/12)", "overkill": "0.10 (1/10)"}

    def version_of(self, run_id):
        return self._second("version", 2)

    def approval(self, version):
        return self._second("approval", (self.decision, "approver", "good"), ("pending", "", ""))

    def start_devices(self):
        self.did.append(("start",))

    def standing(self, version):
        running = Standing(RolloutState.RUNNING, self.digest, self.former)
        ended = replace(running, state=self.rollout, reason="why", devices=(CANARY,))
        known = self._second("standing", running)
        return ended if any(act[0] == "feed" for act in self.did) and self.never != "end" else known

    def runs(self, devices, digest):
        self.did.append(("runs", tuple(devices), digest))
        return self._second(f"runs {len(devices)}", True, False)

    def feed(self, number, device, parts):
        self.did.append(("feed", number, device))

    def ended(self, version):
        return self._second("ended", "failed" if self.rollout is RolloutState.STOPPED else "done", "")

    def champion(self):
        return 1 if self.rollout is RolloutState.STOPPED else self._second("champion", 2, 1)

    def sent(self):
        return self._second("sent", 30)

    def check(self):
        self.did.append(("check",))


def turn(line: Line, number: int = 2) -> tuple[RoundFacts, list[str]]:
    said: list[str] = []
    clock = iter(range(10_000))
    turning = Turning(
        line, lambda title: nullcontext(), said.append, patience_s=50, clock=lambda: float(next(clock)),
        sleep=lambda seconds: None,
    )  # fmt: skip
    return turning.turn(plan_of(BASE, number, 170, 160), "r1", 12), said


def test_a_round_ends_with_the_release_on_all_devices_and_the_champion_moved():
    """The canary's parts pass once it runs the release; the other devices are waited for, then the champion."""
    line = Line()
    facts, _ = turn(line)
    assert (facts.rollout, facts.champion, facts.version, facts.sent_back) == ("done", 2, 2, 18)
    assert ("runs", (CANARY, *OTHERS), line.digest) in line.did
    assert line.did.index(("feed", 2, CANARY)) > line.did.index(("runs", (CANARY,), line.digest))
    assert set(facts.took_s) == {"labels", "training", "approval", "canary", "rollout", "return"}
    assert RoundFacts.from_json(facts.to_json()) == facts


def test_a_round_trains_once_and_the_file_is_mended_before_a_person_approves():
    """From a round's training on, no further training is due in the round, and none ever by a spoilt file: labels of
    images that come back while the rollout lasts would start one."""
    line = Line()
    turn(line, number=SPOILT_ROUND)
    shipped = load_use_case(DEFAULT_USE_CASE)
    (_, _, first), (_, _, second) = [act for act in line.did if act[0] == "automate"]
    assert (first.gates == shipped.gates, second.gates == shipped.gates) == (False, True)
    assert second.training == shipped.training
    assert second.retraining.min_new_labels > 1000
    assert line.did.index(("automate", SPOILT_ROUND, second)) < line.did.index(("start",))


def test_a_demo_in_which_another_than_the_spoilt_model_was_stopped_has_failed():
    """The words name the round, the version and the reason."""
    line = Line(rollout=RolloutState.STOPPED)
    spoilt, _ = turn(line, number=SPOILT_ROUND)
    refuse_what_was_stopped([spoilt])
    good, _ = turn(Line(rollout=RolloutState.STOPPED), number=3)
    with pytest.raises(GateFailed, match=r"round 3: version 2 was stopped on the line and taken back \(why\)"):
        refuse_what_was_stopped([spoilt, good])


def test_a_round_whose_rollout_is_stopped_waits_until_all_devices_run_the_former_release():
    """The version is noted as failed, the champion stays, and a person reads why. Then the canary counts frames of the
    former release again, with which the next version is compared."""
    line = Line(rollout=RolloutState.STOPPED)
    facts, said = turn(line)
    assert (facts.rollout, facts.rollout_reason, facts.champion) == ("failed", "why", 1)
    assert ("runs", (CANARY, *OTHERS), line.former) in line.did
    assert any("version 2 is stopped and taken back: why" in text for text in said)
    assert line.did.index(("feed", AFTER_STOP, CANARY)) > line.did.index(("runs", (CANARY, *OTHERS), line.former))


def test_the_first_round_brings_images_from_all_devices():
    """The other devices see parts once, after they have the first release."""
    line = Line()
    turn(line, number=1)
    assert [act[2] for act in line.did if act[0] == "feed"] == [CANARY, *OTHERS]


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        (Line(passed=False), GateFailed, "did not pass its gate"),
        (Line(approval="rejected"), GateFailed, "version 2 was rejected"),
        (Line(rollout=RolloutState.PAUSED), DemoError, r"is paused \(why\) and waits for a person"),
        (Line(never="approved"), DemoError, "approved labels did not come within 1 minutes"),
        (Line(never="end"), DemoError, "the end of the rollout did not come"),
    ],
    ids=["gate", "rejected", "paused", "nobody labels", "no end"],
)
def test_what_does_not_come_ends_the_round_with_what_to_do(line, error, said):
    """A gate or a person's no ends it at once; whatever never comes ends it with a sentence."""
    with pytest.raises(error, match=said):
        turn(line)


class Registry:
    """A registry with one version that waits."""

    def __init__(self):
        self.waiting = [type("Version", (), {"version": 4})()]

    def newest_versions(self, name, tags, at_most):
        assert tags == {"approval": "pending", "gate": "passed"}
        return self.waiting


def test_the_stand_in_approves_what_waits_with_its_reason_and_then_rings():
    """It knows only what waits; the reason is that of the round."""
    registry, did = Registry(), []

    def approve(version, reason):
        did.append((version, reason))
        registry.waiting = []

    approver = Approver(registry, "metal-tag", approve, lambda: "round 1: good", lambda: did.append("rings"))
    assert approver.work_once() == 1
    assert approver.work_once() == 0
    assert did == [(4, "round 1: good"), "rings"]


def facts_of(number: int, **changes) -> RoundFacts:
    made = RoundFacts(
        number=number, spoilt="", images=160, run_id=f"r{number}", dataset="d" * 64, map50=0.9, escape="0.00 (0/9)",
        overkill="0.10 (1/10)", version=number, approved_by="approver", reason="good", release=f"{number}" * 64,
        rollout="done", rollout_reason="", champion=number, sent_back=9, took_s={"labels": 61.0, "training": 90.0},
    )  # fmt: skip
    return replace(made, **changes)


def test_the_page_shows_the_version_that_was_stopped_and_why():
    """It names the version, the reason, the devices' counts and the decisions. What people wrote is no markup."""
    bad = facts_of(
        2, rollout="failed", rollout_reason="worse on the line: fail 60 % <b>", champion=1, spoilt="2 epochs"
    )
    tally = LineTally(release_digest="2" * 64, since=NOW, frames=80, fail=3, uncertain=1)
    report = Reported(
        device="line1", group="line", reported_at=NOW, state="running", running_release="1" * 64, frames=160,
        tallies=(tally,),
    )  # fmt: skip
    decision = Decision(use_case="metal-tag", act="stop", subject="v2", why="worse on the line", at=NOW)
    page = page_of("metal-tag", [facts_of(1), bad], [decision], [report], seconds=400, now=NOW)
    assert "Version 2 was stopped by its canary and taken back:" in page
    assert "rollout=failed" in page
    assert "fail 60 % &lt;b&gt;" in page
    assert "<b>" not in page
    assert "version 2: 80 frames, 3 fail, 1 uncertain" in page
    assert "stopped the rollout" in page
    assert "2 rounds in 6 min 40 s" in page
    assert page.count('<section class="round failed">') == 1
