"""What follows from what a pass sees, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.use_case import Retraining
from reconciler.follow_up import quiet_until, what_follows
from reconciler.schedules import CronSchedule
from reconciler.training_due import LastTraining, TrainingFacts
from reconciler.view import FinishedLabels, Part, ProductPolicy, ProductView, SeenDesired, SeenRun, SeenVersion, Topic

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
POLICY = ProductPolicy("tag", "line", "en", Retraining(min_new_labels=50))
EMPTY = ProductView(POLICY)


def version(number: int, failed: str = "") -> SeenVersion:
    return SeenVersion(number, f"r{number}", "ann", failed)


def claims(view: ProductView, pipeline: str, now: datetime = NOW) -> list[str]:
    return [want.claim for want in what_follows(view, now).wants if want.pipeline == pipeline]


def waits(view: ProductView, about: str, now: datetime = NOW) -> str:
    return "; ".join(line for line in what_follows(view, now).waits if line.startswith(about))


@pytest.mark.parametrize(
    ("approved", "desired", "claim", "why_not"),
    [
        ((), None, [], "no version is approved"),
        ((version(1),), None, ["deploy/tag/1"], ""),
        ((version(3), version(2)), SeenDesired(4, 2), ["deploy/tag/3"], ""),
        ((version(3),), SeenDesired(4, 3), [], "version 3 is desired already"),
        ((version(2),), SeenDesired(4, 3), [], "version 3 is desired already, which is newer than version 2"),
        ((version(3, "worse"),), SeenDesired(4, 2), [], "version 3 failed its rollout: worse"),
        ((version(4, "worse"), version(3)), SeenDesired(4, 2), ["deploy/tag/3"], ""),
        ((version(4, "worse"), version(2)), SeenDesired(4, 2), [], "version 4 failed its rollout: worse"),
        ((version(4),), SeenDesired(4, 3, "running"), ["deploy/tag/4"], ""),
        ((version(4),), SeenDesired(4, 3, "paused", "inconclusive", 3), [], "version 3 is paused (inconclusive)"),
        ((version(4),), SeenDesired(4, 3, "pinned", "", 3), [], "version 3 is pinned"),
        (
            (version(4),),
            SeenDesired(4, 3, "stopped", "5 devices refused", 4),
            [],
            "version 4 failed its rollout: 5 dev",
        ),
        ((version(5), version(4)), SeenDesired(4, 3, "stopped", "", 4), ["deploy/tag/5"], ""),
        ((version(4),), SeenDesired(4, 3, software="0.2.0"), [], "version 4 waits until the last stage of the agent's"),
        ((version(3),), SeenDesired(4, 3, software="0.2.0"), [], "version 3 is desired already"),
    ],
)
def test_the_newest_approved_version_that_is_allowed_and_newer_is_deployed(approved, desired, claim, why_not):
    """A version that failed its rollout, and anything while the plan is paused or pinned, is not deployed by itself."""
    view = replace(EMPTY, approved=approved, desired=desired)
    assert claims(view, "deployment") == claim
    assert why_not in waits(view, "deployment")
    assert bool(claim) != bool(waits(view, "deployment"))


def test_the_run_gets_the_version_that_the_claim_names():
    """A version that is approved while the run starts is not deployed under the claim of another."""
    (want,) = what_follows(replace(EMPTY, approved=(version(7),)), NOW).wants
    assert want.arguments == {"version": 7}
    assert "approved by ann" in want.why


DAILY = CronSchedule("0 6 * * *", "UTC")


@pytest.mark.parametrize(
    ("new", "ended", "schedule", "due"),
    [
        (50, None, None, True),
        (49, None, None, False),
        (1, timedelta(days=2), DAILY, True),
        (0, timedelta(days=2), DAILY, False),
        (1, timedelta(hours=5), DAILY, False),
        (1, None, DAILY, True),
    ],
)
def test_a_training_is_due_by_labels_or_by_its_schedule_with_a_new_label(new, ended, schedule, due):
    """A schedule without a new label starts nothing; one that was met by a training since comes due the next time."""
    last = None if ended is None else LastTraining("r1", NOW - ended, 41)
    view = replace(
        EMPTY, policy=replace(POLICY, training=schedule), labels=TrainingFacts(57, new, last),
    )  # fmt: skip
    assert claims(view, "training") == (["train/tag/57"] if due else [])
    assert bool(waits(view, "training")) != due
    if schedule and not due:
        assert "its schedule comes due at 2026-03-03 06:00:00 UTC" in waits(view, "training")


def test_labeling_follows_each_newer_annotation_and_each_time_of_its_schedule_once():
    """The claim is named after the newest annotation, or after the time that came due, so each starts one run."""
    at = datetime(2026, 3, 2, 11, 58, 1, 250_000, tzinfo=UTC)
    view = replace(EMPTY, policy=replace(POLICY, labeling=DAILY), finished=FinishedLabels(at))
    assert claims(view, "labeling") == [
        "label/tag/20260302T11/finished-20260302T115801250000Z", "label/tag/20260302T06/schedule-20260302T0600Z",
    ]  # fmt: skip
    assert claims(view, "labeling", NOW + timedelta(hours=17)) == claims(view, "labeling")
    assert claims(view, "labeling", NOW + timedelta(days=9))[1] == "label/tag/20260311T06/schedule-20260311T0600Z"
    assert claims(replace(EMPTY, finished=FinishedLabels(None)), "labeling") == []


def test_people_are_told_of_the_last_failed_gate_and_of_the_newest_version_that_waits():
    """A version that waits is told only while no newer one is approved; a gate that says nothing is not told."""
    view = replace(EMPTY, last_run=SeenRun("r5", "7", passed=False), pending=version(4), approved=(version(3),))
    assert [(notice.topic, notice.subject) for notice in what_follows(view, NOW).notices] == [
        (Topic.GATE_FAILED, "r5"), (Topic.WAITS_FOR_APPROVAL, "4"),
    ]  # fmt: skip
    quiet = replace(view, last_run=SeenRun("r5", "7", passed=None), approved=(version(5),))
    assert what_follows(quiet, NOW).notices == ()


@pytest.mark.parametrize("part", list(Part))
def test_a_part_that_cannot_be_read_holds_up_only_what_needs_it(part):
    """Nothing is started from what nobody knows, and the rest goes on."""
    view = replace(
        EMPTY, approved=(version(3),), labels=TrainingFacts(57, 50, None), finished=FinishedLabels(NOW),
        unread={part: "it is away"},
    )  # fmt: skip
    found = {want.pipeline for want in what_follows(view, NOW).wants}
    held = {Part.MODELS: "deployment", Part.DESIRED: "deployment", Part.LABELS: "training"}.get(part, "labeling")
    assert found == {"deployment", "training", "labeling"} - {held}
    assert "it is away" in waits(view, held)


@pytest.mark.parametrize(
    ("changed", "until"),
    [(None, None), (timedelta(seconds=30), 90), (timedelta(seconds=120), None), (timedelta(hours=-2), 120)],
    ids=["no run before", "a run just now", "long enough ago", "of a clock that is ahead"],
)
def test_a_labeling_run_keeps_its_distance_from_the_one_before(changed, until):
    """It waits for the rest of the quiet time; a claim of a wrong clock holds it up for one such time at most."""
    found = quiet_until(None if changed is None else NOW - changed, 120.0, NOW)
    assert found == (None if until is None else NOW + timedelta(seconds=until))


def test_the_claims_of_the_latest_hours_say_when_labeling_ran_last():
    """A run that began before the hour is found; without a quiet time nothing is looked for."""
    at = NOW - timedelta(minutes=1)
    view = replace(EMPTY, policy=replace(POLICY, labeling_quiet_s=120.0), finished=FinishedLabels(at))
    (want,) = what_follows(view, NOW).wants
    assert set(want.quiet_below) == {f"label/tag/20260302T{hour}/" for hour in (10, 11, 12)}
    (want,) = what_follows(replace(view, policy=POLICY), NOW).wants
    assert want.quiet_below == ()
