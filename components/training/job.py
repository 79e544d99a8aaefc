# SPDX-License-Identifier: AGPL-3.0-only
"""The training step: a dataset's digest in, a finished MLflow run out. Running it again changes nothing."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.manifest import Manifest, load_manifest
from components.model_registry import MODEL_FILE, TRAINING_RECORD, USE_CASE, ModelRegistry, ModelRegistryError
from components.object_store import S3ObjectStore, parse_uri
from components.raw_images import RawImages
from components.settings import settings
from components.training.code_digest import code_digest
from components.training.dataset_folder import Fetch, write_dataset
from components.training.trainer import TrainedModel, Trainer, TrainingError
from components.use_case import BaseWeights, UseCase, parse_use_case
from inspection.image import sha256_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """Which run holds the model; `reused` where an earlier run had the same inputs and no training was needed."""

    run_id: str
    model_sha256: str
    reused: bool


def run(dataset_digest: str, use_case_json: str, *, force: bool = False) -> TrainingOutcome:
    """Train a dataset, or find the run that did. `force` trains again.

    Raises:
        TrainingError: the dataset cannot be learned from, or the export is not sound; the run is marked failed.
    """
    from components.training.yolov8 import UltralyticsTrainer

    use_case = parse_use_case(use_case_json)
    config = settings()
    registry = ModelRegistry.from_settings(config)
    code = code_digest(config.training_image_digest)
    if not force and (found := find_finished(registry, use_case, dataset_digest, code)) is not None:
        _log.info("run %s has trained this dataset with these settings and this code; reused", found.run_id)
        return found
    store = S3ObjectStore.from_settings(config)
    manifest = load_manifest(store, config.bucket("datasets"), dataset_digest)
    fetch = RawImages(store, config.bucket("raw")).fetch
    with tempfile.TemporaryDirectory(prefix="kizu-training-") as directory:
        workdir = Path(directory)
        base = _fetch_base_weights(store, use_case.training.base_weights, workdir)
        return train(registry, UltralyticsTrainer(base_weights=base), manifest, use_case, fetch, code, workdir)


def train(
    registry: ModelRegistry,
    trainer: Trainer,
    manifest: Manifest,
    use_case: UseCase,
    fetch: Fetch,
    code: str,
    workdir: Path,
) -> TrainingOutcome:
    """Train and record a run. It is finished only when all of it is stored: a killed run is never reused."""
    if manifest.classes != use_case.classes:
        raise TrainingError(
            f"expected a dataset of the classes {list(use_case.classes)}, but {manifest.digest} has "
            f"{list(manifest.classes)}; freeze the dataset with this use case"
        )
    dataset = write_dataset(manifest, fetch, workdir / "dataset")
    run_id = registry.start_run(
        use_case.name, f"train-{manifest.digest[:8]}", {**_inputs(use_case, manifest.digest, code), "step": "training"}
    )
    try:
        registry.log_params(run_id, _flat(use_case.training.model_dump(mode="json")))
        registry.log_params(run_id, {f"images_{split}": count for split, count in dataset.images.items()})
        registry.put_artifact(run_id, USE_CASE, use_case.to_json().encode())

        def on_epoch(epoch: int, numbers: Mapping[str, float]) -> None:
            _log.info("epoch %d/%d: %s", epoch, use_case.training.epochs, _brief(numbers))
            try:
                registry.log_metrics(run_id, numbers, step=epoch)
            except ModelRegistryError as e:
                # A curve with a gap is better than an hour of training lost.
                _log.warning("the numbers of epoch %d are not recorded: %s", epoch, e)

        trained = trainer.train(dataset, use_case.training, workdir / "training", on_epoch)
        model_sha256 = _store(registry, run_id, trained)
    except BaseException:
        _mark_failed(registry, run_id)
        raise
    registry.end_run(run_id)
    return TrainingOutcome(run_id, model_sha256, reused=False)


def find_finished(registry: ModelRegistry, use_case: UseCase, dataset_digest: str, code: str) -> TrainingOutcome | None:
    """The newest finished run with the same dataset, training settings and code whose model is there."""
    for known in registry.find_runs(use_case.name, _inputs(use_case, dataset_digest, code)):
        sha256 = known.tags.get("model_sha256", "")
        if sha256 and registry.has_artifact(known.run_id, MODEL_FILE):
            return TrainingOutcome(known.run_id, sha256, reused=True)
    return None


def _inputs(use_case: UseCase, dataset_digest: str, code: str) -> dict[str, str]:
    """The tags that say what went into a training. A new gate or rollout policy trains nothing anew."""
    return {
        "dataset_digest": dataset_digest,
        "training_digest": use_case.training_digest,
        "code_digest": code,
        "use_case": use_case.name,
    }


def _store(registry: ModelRegistry, run_id: str, trained: TrainedModel) -> str:
    data = trained.onnx_path.read_bytes()
    digest = sha256_of(data)
    record = json.dumps(trained.record, sort_keys=True, indent=2, ensure_ascii=False).encode()
    registry.put_artifact(run_id, TRAINING_RECORD, record)
    registry.put_artifact(run_id, MODEL_FILE, data)
    registry.set_run_tag(run_id, "model_sha256", digest)
    return digest


def _mark_failed(registry: ModelRegistry, run_id: str) -> None:
    try:
        registry.end_run(run_id, failed=True)
    except ModelRegistryError as e:
        # What went wrong before is what the operator must see; the run stays RUNNING and is never reused either.
        _log.warning("run %s could not be marked failed: %s", run_id, e)


def _fetch_base_weights(store: S3ObjectStore, weights: BaseWeights | None, workdir: Path) -> Path | None:
    if weights is None:
        return None
    data = store.get(*parse_uri(weights.uri))
    if sha256_of(data) != weights.sha256:
        raise TrainingError(
            f"{weights.uri}: expected base weights with sha256 {weights.sha256}, but the bytes have {sha256_of(data)}"
        )
    path = workdir / "base_weights.pt"
    path.write_bytes(data)
    return path


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` -> `{"a.b": 1}`: MLflow's parameters are flat."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flat(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _brief(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in numbers.items() if not name.startswith("lr"))
