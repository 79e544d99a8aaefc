"""Reads from the stores the facts from which `reconciler.training_due` decides whether a training is due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from components.settings import Settings
from components.stores.labels.store import LabelStore, LabelStoreError, Mark
from components.stores.labels.versions import versions_of_datasets
from components.stores.labels.views import COLUMNS, latest_approved
from components.stores.models.registry import ModelRegistry, ModelRegistryError, RunInfo
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore
from reconciler.seeing import CannotSee
from reconciler.training_due import LastTraining, TrainingFacts


def training_facts(config: Settings, use_case: str) -> TrainingFacts:
    """Read the facts from the label store, from the label versions of datasets, and from MLflow's runs.

    Raises:
        LabelStoreError, ObjectStoreError, ModelRegistryError: a store or the registry cannot be read.
    """
    return _facts(
        LabelStore.open(config),
        ModelRegistry.from_settings(config),
        S3ObjectStore.from_settings(config),
        config.bucket("datasets"),
        use_case,
    )


class KnownFacts:
    """The facts of each product, read again only where the label store or the product's last run changed."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._store = S3ObjectStore.from_settings(config)
        self._registry = ModelRegistry.from_settings(config)
        self._known: dict[str, tuple[Mark, str, TrainingFacts | None]] = {}
        self._labels: tuple[LabelStore, Mark] | None = None

    def new_pass(self) -> None:
        """Ask the label store again for its version, once for all products."""
        self._labels = None

    def facts(self, use_case: str, last_run: str) -> TrainingFacts | None:
        """The facts; None where the label store is empty. last_run: the id of the newest finished training run.

        Raises:
            CannotSee: a store or the registry cannot be read.
        """
        try:
            if self._labels is None:
                opened = LabelStore.open(self._config)
                self._labels = opened, opened.mark()
            labels, mark = self._labels
            known = self._known.get(use_case)
            if known is not None and known[:2] == (mark, last_run):
                return known[2]
            bucket = self._config.bucket("datasets")
            found = _facts(labels, self._registry, self._store, bucket, use_case) if mark.table_id else None
        except (LabelStoreError, ObjectStoreError, ModelRegistryError) as e:
            raise CannotSee(str(e)) from e
        self._known[use_case] = (mark, last_run, found)
        return found


def _facts(
    labels: LabelStore, registry: ModelRegistry, store: S3ObjectStore, datasets: str, use_case: str
) -> TrainingFacts:
    mark = labels.mark()
    runs = registry.find_runs(use_case, {"use_case": use_case})
    made_from = versions_of_datasets(store, datasets, mark.table_id) if mark.table_id else {}
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
