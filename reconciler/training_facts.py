"""Reads from the stores the facts from which `reconciler.training_due` decides whether a training is due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from components.settings import Settings
from components.stores.labels.store import LabelStore
from components.stores.labels.versions import versions_of_datasets
from components.stores.labels.views import COLUMNS, latest_approved
from components.stores.models.registry import ModelRegistry, RunInfo
from components.stores.objects.s3 import S3ObjectStore
from reconciler.training_due import LastTraining, TrainingFacts


def training_facts(config: Settings, use_case: str) -> TrainingFacts:
    """Read the facts from the label store, from the label versions of datasets, and from MLflow's runs.

    Raises:
        LabelStoreError, ObjectStoreError, ModelRegistryError: a store or the registry cannot be read.
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
    """Return the finished run with the latest labels; None if there is none. A run that failed its gate counts too.

    made_from: digest of a dataset -> the version of the label store that it was made from.
    """
    found = [
        LastTraining(run.run_id, run.ended_at, made_from[dataset])
        for run in runs
        if run.ended_at
        and run.tags.get("model_sha256")
        and (dataset := run.tags.get("dataset_digest", "")) in made_from
    ]
    return max(found, key=lambda training: (training.label_version, training.ended_at), default=None)


def _approved(labels: LabelStore, use_case: str, version: int) -> pa.ChunkedArray:
    """Return the id of the latest approved event of each image, as of a version of the label store."""
    return latest_approved(labels.columns(COLUMNS, use_case=use_case, version=version).rows)["event_id"]
