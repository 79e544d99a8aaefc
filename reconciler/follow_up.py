"""What follows from what a pass sees: pure rules, values in and values out.

A rule says which run should be there and under which claim. Whether it is there already is the claim's matter
(`components.stores.objects.claims`), so that a rule may say the same in each pass.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from inspection.rollout import RolloutState
from reconciler.training_due import DueDecision, judge_due
from reconciler.view import Act, Following, Notice, Part, ProductPolicy, ProductView, SeenVersion, Topic, Want

HOLDING_PLANS: Final = (RolloutState.PAUSED, RolloutState.PINNED)
"""States of a rollout in which nothing else is deployed to the group by itself."""


def what_follows(view: ProductView, now: datetime) -> Following:
    """The runs and notices that follow for a product, and what all else waits for."""
    parts = (_deployment(view), _training(view, now), _labeling(view, now), _notices(view))
    return Following(
        wants=tuple(want for part in parts for want in part.wants),
        notices=tuple(notice for part in parts for notice in part.notices),
        waits=tuple(wait for part in parts for wait in part.waits),
        sees=_sees(view),
    )


def _deployment(view: ProductView) -> Following:
    """The newest approved version, if it is newer than what is desired and its rollout did not fail."""
    for part in (Part.MODELS, Part.DESIRED):
        if part in view.unread:
            return _waits(f"deployment: the {part} cannot be read: {view.unread[part]}")
    if not view.approved:
        return _waits("deployment: no version is approved")
    desired, name = view.desired, view.policy.name
    if desired is not None and desired.plan in HOLDING_PLANS:
        said = f" ({desired.plan_reason})" if desired.plan_reason else ""
        return _waits(f"deployment: the rollout of version {desired.plan_version} is {desired.plan}{said}")
    allowed = [version for version in view.approved if not version.failed_rollout and not _stopped_on(view, version)]
    refused = f"version {view.approved[0].version} failed its rollout: {_failure(view)}"
    if not allowed:
        return _waits(f"deployment: {refused}")
    newest = allowed[0]
    if desired is not None and newest.version <= desired.version:
        said = "" if newest is view.approved[0] else f"; {refused}"
        newer = "" if newest.version == desired.version else f", which is newer than version {newest.version}"
        return _waits(f"deployment: version {desired.version} is desired already{newer}{said}")
    if desired is not None and desired.software:
        return _waits(
            f"deployment: version {newest.version} waits until the last stage of the agent's software "
            f"{desired.software} is open"
        )
    by = f" by {newest.approved_by}" if newest.approved_by else ""
    present = f"version {desired.version}" if desired is not None else "nothing"
    want = Want(
        act=Act.START_DEPLOYMENT,
        pipeline="deployment",
        claim=f"deploy/{name}/{newest.version}",
        why=f"version {newest.version} is approved{by}, and {present} is desired in the group {view.policy.group}",
        arguments={"version": newest.version},
    )
    return Following(wants=(want,))


def _stopped_on(view: ProductView, version: SeenVersion) -> bool:
    """Whether the group's plan was stopped on this version, though nobody has tagged the version yet."""
    return (
        view.desired is not None
        and view.desired.plan == RolloutState.STOPPED
        and view.desired.plan_version == version.version
    )


def _failure(view: ProductView) -> str:
    newest = view.approved[0]
    return newest.failed_rollout or (view.desired.plan_reason if view.desired else "") or "no reason is given"


def training_want(name: str, due: DueDecision, label_version: int) -> Want:
    """The training of a label version, under the claim that `kizu train --if-due` takes too."""
    return Want(
        act=Act.START_TRAINING,
        pipeline="training",
        claim=f"train/{name}/{label_version}",
        why=due.why,
        arguments={"label_version": label_version, "force": False},
        alone_below=f"train/{name}/",
    )


def _training(view: ProductView, now: datetime) -> Following:
    if Part.LABELS in view.unread:
        return _waits(f"training: the labels cannot be read: {view.unread[Part.LABELS]}")
    facts, policy = view.labels, view.policy
    if facts is None:
        return _waits("training: there is no label yet")
    due = judge_due(policy.retraining, facts, now)
    if not due.due and policy.training is not None and facts.new_labels > 0:
        slot = policy.training.came_due(now)
        if slot is not None and (facts.last is None or facts.last.ended_at < slot):
            due = DueDecision(True, f"its schedule came due at {_at(slot)}, and {facts.new_labels} labels are new")
    if due.due:
        return Following(wants=(training_want(policy.name, due, facts.label_version),))
    waits = [f"training: {due.why}"]
    if policy.training is not None:
        waits.append(f"training: its schedule comes due at {_at(policy.training.comes_due(now))}")
    return _waits(*waits)


def _labeling(view: ProductView, now: datetime) -> Following:
    """A run for what people finished, and one for the schedule.

    Claims lie below the hour that they are of, so that whoever looks for rivals reads those of one hour only. Two runs
    at once, of two hours, are safe: a lease of labeling makes one wait for the other.

    While people work without a break, each pass sees a newer annotation. A run for what people finished therefore keeps
    its distance from the run before, which collected all that was there. A run of the schedule keeps none.
    """
    policy, waits = view.policy, []
    wants = []
    if Part.LABEL_STUDIO in view.unread:
        waits.append(f"labeling: Label Studio cannot be read: {view.unread[Part.LABEL_STUDIO]}")
    elif view.finished is None or view.finished.newest is None:
        waits.append("labeling: nobody has finished anything in Label Studio")
    else:
        at = view.finished.newest
        below = f"label/{policy.name}/{at:%Y%m%dT%H}/"
        wants.append(
            Want(
                act=Act.START_LABELING,
                pipeline="labeling",
                claim=f"{below}finished-{at:%Y%m%dT%H%M%S%fZ}",
                why=f"people finished something at {_at(at)}",
                arguments={"wait_s": 0},
                alone_below=below,
                quiet_s=policy.labeling_quiet_s,
                quiet_below=_hours(policy, at, now) if policy.labeling_quiet_s > 0 else (),
            )
        )
    slot = policy.labeling.came_due(now) if policy.labeling is not None else None
    if slot is not None:
        below = f"label/{policy.name}/{slot:%Y%m%dT%H}/"
        wants.append(
            Want(
                act=Act.START_LABELING,
                pipeline="labeling",
                claim=f"{below}schedule-{slot:%Y%m%dT%H%MZ}",
                why=f"its schedule came due at {_at(slot)}",
                arguments={"wait_s": 0},
                alone_below=below,
            )
        )
    if policy.labeling is not None:
        waits.append(f"labeling: its schedule comes due at {_at(policy.labeling.comes_due(now))}")
    return Following(wants=tuple(wants), waits=tuple(waits))


def _hours(policy: ProductPolicy, at: datetime, now: datetime) -> tuple[str, ...]:
    """Where the claims of the latest labeling runs are. A run that was of an earlier hour's work is not looked for."""
    times = (at, now, now - timedelta(hours=1), now - timedelta(hours=1, seconds=policy.labeling_quiet_s))
    return tuple(dict.fromkeys(f"label/{policy.name}/{time:%Y%m%dT%H}/" for time in times))


def quiet_until(changed_at: datetime | None, quiet_s: float, now: datetime) -> datetime | None:
    """Until when a run waits; None where it may start.

    changed_at: of the latest claim: when its run was started or ended; None where there is none. A time of the future
    is that of a wrong clock, and counts as now.
    """
    if changed_at is None:
        return None
    until = min(changed_at, now) + timedelta(seconds=quiet_s)
    return until if until > now else None


def _notices(view: ProductView) -> Following:
    """A gate that failed last, and the newest version that waits for approval. Older ones are history."""
    policy = view.policy
    notices = []
    run, pending = view.last_run, view.pending
    if run is not None and run.passed is False:
        notices.append(
            Notice(
                policy.name,
                policy.language,
                Topic.GATE_FAILED,
                run.run_id,
                {"run": run.run_id, "experiment": run.experiment_id},
            )
        )
    newest = view.approved[0].version if view.approved else 0
    if pending is not None and pending.version > newest:
        notices.append(
            Notice(
                policy.name,
                policy.language,
                Topic.WAITS_FOR_APPROVAL,
                str(pending.version),
                {"version": str(pending.version), "run": pending.run_id},
            )
        )
    return Following(notices=tuple(notices))


def gave_up(view: ProductView, want: Want, why: str) -> Notice:
    """The notice that the last attempt of a run failed, so that a person has to look."""
    return Notice(
        view.policy.name, view.policy.language, Topic.GAVE_UP, want.claim, {"pipeline": want.pipeline, "why": why}
    )


def _sees(view: ProductView) -> tuple[str, ...]:
    approved = ", ".join(str(version.version) for version in view.approved) or "none"
    lines = [f"approved versions: {approved}"]
    if view.pending is not None:
        lines.append(f"version {view.pending.version} waits for approval")
    if view.desired is None:
        lines.append(f"nothing is desired in the group {view.policy.group}")
    else:
        plan = f", its rollout is {view.desired.plan}" if view.desired.plan else ""
        lines.append(f"version {view.desired.version} is desired (sequence {view.desired.sequence}){plan}")
    if view.labels is not None:
        lines.append(f"label version {view.labels.label_version}, {view.labels.new_labels} new labels")
    if view.finished is not None and view.finished.newest is not None:
        lines.append(f"the newest annotation in Label Studio is of {_at(view.finished.newest)}")
    if view.last_run is not None and view.last_run.passed is False:
        lines.append(f"the last training, run {view.last_run.run_id}, failed its gate")
    return tuple(lines)


def _waits(*lines: str) -> Following:
    return Following(waits=lines)


def _at(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
