"""Whether a training is due: a rule over the use case's policy and facts about labels and trainings.

`reconciler.training_facts` reads the facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


class RetrainingPolicy(Protocol):
    """The section `retraining` of a use case: it says when a training is due."""

    @property
    def min_new_labels(self) -> int:
        """The number of new labels from which a training is due."""

    @property
    def max_age_days(self) -> float | None:
        """The age of the last training from which one new label is enough; None: no limit."""


@dataclass(frozen=True, slots=True)
class LastTraining:
    """The newest finished training. label_version: the version of the label store that its dataset was made from."""

    run_id: str
    ended_at: datetime
    label_version: int


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """The facts that the rule uses.

    label_version: the present version of the label store. new_labels: the number of images whose latest approved label
    was not in the last training. last: None if no training on labels of this label store has finished; then all labels
    are new.
    """

    label_version: int
    new_labels: int
    last: LastTraining | None


@dataclass(frozen=True, slots=True)
class DueDecision:
    """Whether a training is due. why: the reason, in one line."""

    due: bool
    why: str


def judge_due(policy: RetrainingPolicy, facts: TrainingFacts, now: datetime) -> DueDecision:
    """Decide whether a training is due: there are enough new labels, or the last training is too old.

    If the last training is too old, a training is due only if at least one label is new: the same labels are not
    trained on twice.
    """
    since = f"since label version {facts.last.label_version}" if facts.last else "and nothing was trained yet"
    said = f"{facts.new_labels} approved labels are new {since}"
    if facts.new_labels >= policy.min_new_labels:
        return DueDecision(True, f"{said}, {policy.min_new_labels} are enough")
    if facts.last is None or policy.max_age_days is None:
        return DueDecision(False, f"{said}, {policy.min_new_labels} are asked for")
    age = now - facts.last.ended_at
    days = f"the last training is {age / timedelta(days=1):.1f} days old"
    if age < timedelta(days=policy.max_age_days):
        return DueDecision(
            False, f"{said}, {policy.min_new_labels} are asked for; {days}, {policy.max_age_days:g} are allowed"
        )
    if facts.new_labels == 0:
        return DueDecision(False, f"{days}, {policy.max_age_days:g} are allowed, but no approved label is new {since}")
    return DueDecision(True, f"{days}, {policy.max_age_days:g} are allowed, and {said}")
