"""When a rollout goes on, stops, pauses or waits, as a table over plans and reports."""

from dataclasses import replace
from datetime import timedelta

import pytest

from components.stores.fleet.reports import UnreadReport
from inspection.documents import Wave
from inspection.rollout import LineBounds, NotComparable, PausedFor, RolloutState, Stage, Window
from reconciler.line_comparison import Line
from reconciler.rollout import judge_rollout
from reconciler.stages import Outcome, RolloutAct
from tests.reconciler.rollouts import CANARY, NEW, NOW, OLD, PLAN, at, desired, device, tally

WAIT, ADVANCE, STOP, PAUSE, FINISH, NOTHING = (
    RolloutAct.WAIT, RolloutAct.ADVANCE, RolloutAct.STOP, RolloutAct.PAUSE, RolloutAct.FINISH, RolloutAct.NOTHING,
)  # fmt: skip
LOW = [f"d{i}" for i in range(400) if Wave(release_digest=NEW, percent=50.0).includes(f"d{i}")]


def judged(plan, *reports, unread=(), now=NOW, again=5):
    return judge_rollout("line", desired(plan, again=again), reports, unread, now)


def staged(**asks):
    """The plan with the canary open, which asks this."""
    return replace(PLAN, stages=(replace(PLAN.stages[0], **asks), *PLAN.stages[1:]))


@pytest.mark.parametrize(
    ("plan", "reports", "act", "said"),
    [
        (PLAN, [device()], ADVANCE, "the canary is complete: 1 succeeded"),
        (PLAN, [device(running=OLD)], WAIT, "0 of 1 device"),
        (PLAN, [device(running=OLD, pending_release=NEW)], WAIT, "0 of 1 device"),
        (PLAN, [device("d1")], WAIT, "no device of it has reported yet"),
        (PLAN, [], WAIT, "no device of group line has reported yet"),
        (PLAN, [device(running=OLD, minutes_ago=60)], WAIT, "1 late"),
        (PLAN, [device(running=OLD, pinned_release=OLD)], WAIT, "1 held"),
        (PLAN, [device(running=OLD, failure=("wrong-golden: no",))], STOP, "canary: wrong-golden: no"),
        (PLAN, [device(running=OLD, failure=("rolled back by the operator",))], STOP, "rolled back by the operator"),
        (PLAN, [device(running=OLD, failure=("wrong-golden: no", 4))], WAIT, "0 of 1 device"),
        (PLAN, [device(running=OLD, failure=("too-slow: 9", 5, True, 2))], WAIT, "1 on-the-way"),
        (PLAN, [device(running=OLD, failure=("too-slow: 9", 5, True, 3))], STOP, "too-slow"),
        (PLAN, [device(running=OLD, failures=None, reason="failed-before: too-slow")], STOP, "canary: too-slow"),
        (staged(min_s=7200.0), [device()], WAIT, "is open for 3600 of 7200 s"),
        (staged(min_frames=501), [device(tallies=(tally(),))], WAIT, "500 of 501 frames"),
        (staged(min_frames=500), [device(tallies=(tally(),))], ADVANCE, "complete"),
        (staged(by_hand=True), [device()], PAUSE, "a person opens the next"),
        (replace(staged(by_hand=True), go_on=True), [device()], ADVANCE, "complete"),
        (at(2), [device(), device("d1"), device("d2")], FINISH, "the last, is complete"),
        (at(2), [device(), device("d1"), device("d2", OLD)], WAIT, "2 of 3 succeeded, 90% are asked"),
        (at(2), [device(), device("d1"), device("d2", OLD, minutes_ago=60)], FINISH, "complete"),
        (at(2, state=RolloutState.DONE), [device("d1", OLD, failure=("bad: x",))], NOTHING, "done"),
        (at(0, state=RolloutState.PAUSED, by="qa", reason="hm"), [device()], NOTHING, "paused by qa: hm; run: kizu"),
        (at(0, state=RolloutState.STOPPED), [device(running=OLD, failure=("bad: x",))], NOTHING, "stopped"),
        (None, [device()], NOTHING, "without a plan"),
    ],
    ids=["canary runs it", "runs the old", "on probation", "canary not seen", "nobody seen", "late", "pinned",
         "refused", "taken back by the operator", "refused before it was ordered again", "a cause that may pass",
         "a cause that did not pass", "an agent of before", "too early", "too few frames", "enough frames", "by hand",
         "resumed", "all run it", "one does not", "one is late", "done is done", "paused", "stopped", "no plan"],
)  # fmt: skip
def test_what_follows_from_what_devices_report(plan, reports, act, said):
    """One stage is open; the reports of its devices decide."""
    judgement = judged(plan, *reports)
    assert (judgement.act, said in judgement.why) == (act, True), judgement.why


def test_devices_of_later_stages_and_of_other_groups_and_products_decide_nothing():
    """Only devices that have been asked to run the release count."""
    other = device("d1", OLD, failure=("bad: x",))
    strangers = [replace(other, device="canary", group="other"), replace(other, device="canary", use_case="bottle")]
    assert judged(PLAN, device(), other).act is ADVANCE
    assert judged(PLAN, device(), *strangers).act is ADVANCE


def test_a_few_failures_among_many_devices_are_borne_and_more_stop_the_rollout():
    """The bound is a share of the stage's devices, those on the way included."""
    good = [device(name) for name in LOW[:18]]
    bad = [device(name, OLD, failure=("bad: x",)) for name in LOW[18:21]]
    assert judged(at(1), *good, *bad[:2]).act is ADVANCE
    judgement = judged(at(1), *good, *bad)
    assert (judgement.act, judgement.devices) == (STOP, tuple(sorted(item.device for item in bad)))
    waiting = [device(name, OLD) for name in LOW[21:40]]
    assert judged(at(1), *good, *bad, *waiting).act is WAIT, "3 of 40 are fewer than a tenth"


def test_an_empty_wave_is_passed_and_an_empty_last_one_waits():
    """One per cent of three devices may be none of them."""
    plan = replace(PLAN, stages=(Stage(percent=0.5), Stage(percent=100.0)))
    outside = next(f"d{i}" for i in range(99) if not Wave(release_digest=NEW, percent=0.5).includes(f"d{i}"))
    assert judged(plan, device(outside, OLD)).act is ADVANCE


def test_a_report_that_cannot_be_read_is_neither_failed_nor_succeeded():
    """It is shown, and the other devices of the stage decide."""
    unread = UnreadReport("d1", "no JSON")
    judgement = judged(at(2), device(), unread=[unread])
    assert judgement.act is FINISH
    assert [(item.device, item.outcome) for item in judgement.progress.devices] == [
        ("canary", Outcome.SUCCEEDED), ("d1", Outcome.UNREAD),
    ]  # fmt: skip
    assert judged(PLAN, unread=[replace(unread, device="canary")]).act is WAIT


def test_a_stage_is_opened_in_a_maintenance_window_only():
    """The window is in the plant's time zone."""
    nights = (Window(start="22:00", end="05:00"),)
    plan = replace(PLAN, windows=nights, time_zone="Asia/Tokyo")
    early = judged(plan, device())
    assert (early.act, "maintenance window" in early.why) == (WAIT, True), "12:00 UTC is 21:00 in Tokyo"
    assert judged(plan, device(), now=NOW + timedelta(hours=1)).act is ADVANCE


def line(new=None, old=None, plan=PLAN):
    """The judgement on one canary that has counted frames of both releases."""
    tallies = (tally(OLD, **(old or {})), tally(NEW, **(new or {})))
    return judged(plan, device(tallies=tallies))


@pytest.mark.parametrize(
    ("new", "old", "act", "said"),
    [
        ({"fail": 25}, {"fail": 25}, ADVANCE, "complete"),
        ({"fail": 200}, {"fail": 25}, STOP, "worse on the line: fail 5.0% before (n=500), 40.0% now (n=500)"),
        ({"fail": 0}, {"fail": 200}, STOP, "worse on the line: fail 40.0% before"),
        ({"fail": 75}, {"fail": 25}, PAUSE, "inconclusive: fail"),
        ({"frames": 99, "fail": 99}, {}, ADVANCE, "complete"),
        ({"uncertain": 150}, {"uncertain": 10}, STOP, "worse on the line: uncertain"),
        ({"uncertain": 0}, {"uncertain": 150}, ADVANCE, "complete"),
        ({"p95_ms": 90.0}, {"p95_ms": 40.0}, STOP, "2.25 times as long"),
        ({"p95_ms": 79.0}, {"p95_ms": 40.0}, ADVANCE, "complete"),
        ({"p95_ms": 9.0}, {"p95_ms": 2.0}, ADVANCE, "complete"),
    ],
    ids=["the same", "more fail", "fewer fail", "perhaps more", "too few frames", "more review", "less review",
         "slower", "a little slower", "jitter"],
)  # fmt: skip
def test_a_release_that_is_worse_on_the_line_stops(new, old, act, said):
    """The interval of the change is compared with the bound: wholly above it stops, across it pauses."""
    judgement = line(new, old)
    assert (judgement.act, said in judgement.why) == (act, True), judgement.why


def test_a_stage_that_could_not_be_compared_says_so_when_the_next_is_opened():
    """After a roll-back a device counts the former release from 0: the decision tells that nothing was compared."""
    judgement = line({"fail": 200}, {"frames": 40})
    assert judgement.act is ADVANCE
    assert "not compared with the former release: fail (40 of" in judgement.why
    timed = {"fail": 25, "p95_ms": 9.0}
    assert "not compared" not in line(timed, timed).why


ASKS = replace(PLAN, line=replace(PLAN.line, when_not_comparable=NotComparable.PAUSE))


@pytest.mark.parametrize(
    ("new", "old", "act", "said"),
    [
        ({"fail": 25, "p95_ms": 9.0}, {"fail": 25, "p95_ms": 9.0}, ADVANCE, "complete"),
        ({"fail": 25, "p95_ms": 9.0}, {"frames": 40, "p95_ms": 9.0}, PAUSE, "fail (40 of 100 frames of the former"),
        ({"fail": 25}, {"fail": 25}, PAUSE, "latency (no device has timed enough frames of both)"),
        ({"frames": 40, "p95_ms": 9.0}, {"p95_ms": 9.0}, WAIT, "fail (40 of 100 frames of the release)"),
        ({"frames": 10}, {"p95_ms": 9.0}, WAIT, "latency (no device"),
        ({"fail": 200}, {"frames": 40}, PAUSE, "uncertain (40 of 100"),
    ],
    ids=["comparable", "the former was taken back", "no times", "the release has begun", "its times come", "bad"],
)
def test_a_canary_that_cannot_be_compared_waits_for_frames_that_come_and_else_asks_a_person(new, old, act, said):
    """Frames of the former release come no more once the canary has left it; a person then decides without them."""
    judgement = line(new, old, ASKS)
    assert (judgement.act, said in judgement.why) == (act, True), judgement.why
    assert (judgement.paused_for is PausedFor.INCONCLUSIVE) == (act is PAUSE)
    assert line(new, old, replace(ASKS, go_on=True)).act is ADVANCE, "a person has resumed it"
    assert line(new, old).act is ADVANCE, "the policy says: continue"


def test_a_device_that_was_set_up_anew_has_nothing_to_compare_with():
    """It never ran the former release; a device beside it that refused the release brings no frames either."""
    new = device(tallies=(tally(NEW),))
    assert judged(ASKS, new).act is PAUSE
    plan = replace(ASKS, stages=(replace(CANARY, devices=("canary", "old"), failure_share=0.5, success_share=0.5),
                                 *PLAN.stages[1:]))  # fmt: skip
    refuses = device("old", OLD, failure=("bad: x",), tallies=(tally(OLD),))
    assert judged(plan, new, refuses).act is PAUSE
    takes = device("old", OLD, tallies=(tally(OLD, p95_ms=9.0),))
    assert judged(plan, new, takes).act is WAIT, "it will have frames of both"


def test_what_opens_no_wave_needs_no_comparison():
    """The first release has nothing to be compared with, and at the last wave all devices have the release already."""
    new = device(tallies=(tally(NEW),))
    assert judged(replace(ASKS, former_digest=None), new).act is ADVANCE
    assert (
        judged(replace(ASKS, line=replace(LineBounds(), when_not_comparable=NotComparable.PAUSE)), new).act is ADVANCE
    )
    last = judged(replace(ASKS, open_stage=2), new)
    assert (last.act, "not compared with the former release" in last.why) == (FINISH, True)


def test_a_disagreement_that_so_few_frames_can_never_show_is_asked_about():
    """A device counts its latest 2000 frames: where one in a hundred is judged by both, 100 of them never come."""
    plan = replace(ASKS, line=replace(ASKS.line, disagreement=0.05, latency_ratio=1000.0))
    assert line({"compared": 50}, plan=plan).act is WAIT
    assert line({"compared": 5}, plan=plan).act is PAUSE
    assert line({"compared": 0}, plan=plan).act is PAUSE
    assert line({"frames": 50, "compared": 0}, plan=plan).act is WAIT


def test_a_release_that_finds_nothing_stops_though_defects_are_rare():
    """2 % fail before and none now lies within a bound of 10 points; a fall by more than 70 % of itself does not."""
    plan = replace(PLAN, line=replace(PLAN.line, fail_fall=0.7))
    judgement = line({"fail": 0}, {"fail": 20}, plan)
    assert (judgement.act, "fall of fail 4.00% before (n=500), 0.00% now" in judgement.why) == (STOP, True)
    assert line({"fail": 20}, {"fail": 20}, plan).act is ADVANCE
    few = line({"fail": 0}, {"fail": 5}, plan)
    assert (few.act, few.progress.comparisons[2].line) == (ADVANCE, Line.TOO_FEW), "1 % of 500 frames do not tell"


def test_a_person_who_resumes_goes_on_though_it_is_inconclusive_but_not_though_it_is_worse():
    """A resume answers a question; it does not close the eyes."""
    going_on = replace(PLAN, go_on=True)
    assert line({"fail": 75}, {"fail": 25}).paused_for is PausedFor.INCONCLUSIVE
    assert line({"fail": 75}, {"fail": 25}, going_on).act is ADVANCE
    assert line({"fail": 200}, {"fail": 25}, going_on).act is STOP


def test_disagreement_is_judged_where_the_policy_bounds_it():
    """By the frames that both releases judged."""
    plan = replace(PLAN, line=replace(PLAN.line, disagreement=0.05))
    assert line({"compared": 400, "disagreed": 60}, plan=plan).act is STOP
    assert line({"compared": 400, "disagreed": 4}, plan=plan).act is ADVANCE
    few = line({"compared": 50, "disagreed": 50}, plan=plan)
    assert (few.act, few.progress.comparisons[2].line) == (ADVANCE, Line.TOO_FEW)


def test_the_first_release_of_a_group_is_compared_with_nothing():
    """There is no former one."""
    judgement = line({"fail": 500}, plan=replace(PLAN, former_digest=None))
    assert (judgement.act, judgement.progress.comparisons) == (ADVANCE, ())


@pytest.mark.parametrize(
    ("window", "at_hour", "inside"),
    [
        (Window(start="22:00", end="05:00"), "2025-04-01T23:00", True),
        (Window(start="22:00", end="05:00"), "2025-04-02T04:59", True),
        (Window(start="22:00", end="05:00"), "2025-04-02T05:00", False),
        (Window(days=("mon",), start="22:00", end="05:00"), "2025-04-01T04:00", True),
        (Window(days=("mon",), start="22:00", end="05:00"), "2025-04-01T22:00", False),
        (Window(days=("tue",), start="09:00", end="10:00"), "2025-04-01T09:00", True),
        (Window(days=("tue",), start="09:00", end="10:00"), "2025-04-02T09:00", False),
        (Window(days=("sat",)), "2025-04-05T13:00", True),
        (Window(days=("sat",)), "2025-04-06T00:00", False),
    ],
)
def test_a_window_that_ends_before_it_starts_ends_on_the_next_day(window, at_hour, inside):
    """2025-04-01 is a Tuesday. A window belongs to the day on which it starts."""
    assert window.includes(NOW.fromisoformat(at_hour)) is inside
