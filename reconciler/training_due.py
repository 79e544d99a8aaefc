"""Whether a training is due: a rule over the use case's policy and what is known of labels and trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from components.settings import Settings
from components.stores.labels.store import LabelStore
from components.stores.labels.versions import versions_of_datasets
from components.stores.labels.views import COLUMNS, latest_approved
from components.stores.models.registry import ModelRegistry, RunInfo
from components.stores.objects.s3 import S3ObjectStore
from components.use_case import Retraining


@dataclass(frozen=True, slots=True)
class LastTraining:
    """The newest finished training. label_version: of the labels that its dataset was made from."""

    run_id: str
    ended_at: datetime
    label_version: int


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """label_version: the labels now. new_labels: images whose approved label the last training did not have.

    last: None where no training with labels of this label store has finished yet; then all labels are new.
    """

    label_version: int
    new_labels: int
    last: LastTraining | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Due or not, and why, in one line."""

    due: bool
    why: str


def judge_due(policy: Retraining, facts: TrainingFacts, now: datetime) -> Verdict:
    """Due by enough new labels, or by age where there is at least one: the same labels are not trained twice."""
    since = f"since label version {facts.last.label_version}" if facts.last else "and nothing was trained yet"
    said = f"{facts.new_labels} approved labels are new {since}"
    if facts.new_labels >= policy.min_new_labels:
        return Verdict(True, f"{said}, {policy.min_new_labels} are enough")
    if facts.last is None or policy.max_age_days is None:
        return Verdict(False, f"{said}, {policy.min_new_labels} are asked for")
    age = now - facts.last.ended_at
    days = f"the last training is {age / timedelta(days=1):.1f} days old"
    if age < timedelta(days=policy.max_age_days):
        return Verdict(
            False, f"{said}, {policy.min_new_labels} are asked for; {days}, {policy.max_age_days:g} are allowed"
        )
    if facts.new_labels == 0:
        return Verdict(False, f"{days}, {policy.max_age_days:g} are allowed, but no approved label is new {since}")
    return Verdict(True, f"{days}, {policy.max_age_days:g} are allowed, and {said}")


def training_facts(config: Settings, use_case: str) -> TrainingFacts:
    """Look at the label store, at what datasets were made from, and at MLflow's runs.

    Raises:
        LabelStoreError, ObjectStoreError, ModelRegistryError: one of them cannot be read.
    """
    labels = LabelStore.open(config)
    mark = labels.mark()
    runs = ModelRegistry.from_settings(config).find_runs(use_case, {"use_case": use_case})
    store, bucket = S3ObjectStore.from_settings(config), config.bucket("datasets")
    made_from = versions_of_datasets(store, bucket, mark.table_id) if mark.table_id else {}
    last = last_training(runs, made_from)
    approved = _approved(labels, use_case, mark.version)
    new = len(approved)
    if last is not None:
        known = _approved(labels, use_case, last.label_version)
        new -= pc.sum(pc.is_in(approved, value_set=known.combine_chunks())).as_py() or 0
    return TrainingFacts(mark.version, new, last)


def last_training(runs: Iterable[RunInfo], made_from: Mapping[str, int]) -> LastTraining | None:
    """Of finished runs, the one with the latest labels, however its gate judged it. made_from: dataset -> version."""
    found = [
        LastTraining(run.run_id, run.ended_at, made_from[dataset])
        for run in runs
        if run.ended_at
        and run.tags.get("model_sha256")
        and (dataset := run.tags.get("dataset_digest", "")) in made_from
    ]
    return max(found, key=lambda training: (training.label_version, training.ended_at), default=None)


def _approved(labels: LabelStore, use_case: str, version: int) -> pa.ChunkedArray:
    """Ids of the approved events that count at a version."""
    return latest_approved(labels.columns(COLUMNS, use_case=use_case, version=version).rows)["event_id"]
