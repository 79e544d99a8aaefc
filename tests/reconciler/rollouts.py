"""Values that several tests of rollouts use: a plan, its desired state, and reports of devices."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from inspection.documents import DesiredState, Reported, Wave
from inspection.report_parts import FailedRelease, LineTally
from inspection.rollout import LineBounds, RolloutPlan, Stage

NOW = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
CANARY = Stage(devices=("canary",))
PLAN = RolloutPlan(
    version=7, release_digest=NEW, former_digest=OLD, stages=(CANARY, Stage(percent=50.0), Stage(percent=100.0)),
    open_stage=0, opened_at=NOW - timedelta(hours=1), began_at=NOW - timedelta(hours=1),
    line=LineBounds(fail_change=0.1, review_change=0.1, latency_ratio=2.0, min_frames=100),
)  # fmt: skip


def desired(plan=PLAN, *, sequence=5, again=5):
    """The desired state of a plan. Its waves are not looked at by the rule."""
    return DesiredState(
        sequence=sequence, use_case="metal-tag", waves=(Wave(release_digest=NEW, percent=100.0),), probation_s=60.0,
        report_timeout_s=600.0, again=again, rollout=plan,
    )  # fmt: skip


def at(stage, **changes):
    """The plan with another stage open."""
    return replace(PLAN, open_stage=stage, **changes)


def device(name="canary", running=NEW, *, minutes_ago=1.0, failure=None, **fields):
    """A report. failure: (reason, sequence, transient, attempts) of the new release, or its first values."""
    failures = {}
    if failure:
        reason, sequence, transient, attempts = (*failure, *(5, False, 1)[len(failure) - 1 :])
        failures[NEW] = FailedRelease(reason=reason, at=NOW, sequence=sequence, transient=transient, attempts=attempts)
    given = {"failures": failures, "pinned_release": ""} | fields
    return Reported(
        device=name, group="line", use_case="metal-tag", state="running", running_release=running,
        reported_at=NOW - timedelta(minutes=minutes_ago), **given,
    )  # fmt: skip


def tally(digest=NEW, frames=500, **counts):
    """What a device has counted of a release."""
    return LineTally(release_digest=digest, since=NOW, frames=frames, **counts)
