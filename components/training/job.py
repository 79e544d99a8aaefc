"""The training step: from the digest of a dataset to a finished MLflow run. Running it again changes nothing."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.settings import Settings
from components.stores.datasets.manifest import Manifest, load_manifest
from components.stores.models.registry import (
    DATASET_MANIFEST,
    INT8_MODEL_FILE,
    INT8_TAG,
    MODEL_FILE,
    PACKAGES,
    TRAINING_RECORD,
    USE_CASE,
    ModelRegistry,
    ModelRegistryError,
    RunInfo,
)
from components.stores.models.training_record import with_pictures
from components.stores.objects.image_cache import Fetch, cached
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages
from components.training.base_weights import fetch_base_weights
from components.training.checkpoints import S3Checkpoints, StoredCheckpoint, go_on
from components.training.code_digest import code_digest, code_revision, packages
from components.training.dataset_folder import LEARNED_SPLITS, write_dataset
from components.training.detectors import trainer_of
from components.training.quantize import Variant, make_variant
from components.training.ready import ready_for_detector
from components.training.trainer import DetectionDataset, TrainedModel, Trainer, TrainingError
from components.use_case import BaseWeights, UseCase
from inspection.image import sha256_of
from inspection.outputs import BOXES
from inspection.preprocess import Preprocess

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """The run that has the model. reused: an earlier run had the same inputs, so that no training was needed.

    note: in words, that the model was trained now, or the version or failed gate of the earlier run.
    """

    run_id: str
    model_sha256: str
    reused: bool
    note: str = ""


def run(
    config: Settings, use_case: UseCase, dataset_digest: str, base: BaseWeights | None = None, *, force: bool = False
) -> TrainingOutcome:
    """Train on a dataset, or return the finished run that had the same inputs.

    base: the weights to begin from, see `base_weights`. force: train even where such a run is finished.

    Raises:
        TrainingError: the dataset cannot be learned from, or the export is not sound; the run is marked failed.
    """
    registry = ModelRegistry.from_settings(config)
    code = code_digest(use_case.training.detector, config.training_image_digest)
    if not force and (found := find_finished(registry, use_case, dataset_digest, code, base)) is not None:
        _log.info("%s", found.note)
        return found
    store = S3ObjectStore.from_settings(config)
    manifest = load_manifest(store, config.bucket("datasets"), dataset_digest)
    wanted = [image.sha256 for split in LEARNED_SPLITS for image in manifest.of(split)]
    fetch = cached(RawImages(store, config.bucket("raw")).fetch, config, wanted)
    with tempfile.TemporaryDirectory(prefix="kizu-training-") as directory:
        workdir = Path(directory)
        trainer = trainer_of(use_case.training, config, fetch_base_weights(store, base, workdir))
        checkpoints = S3Checkpoints(
            store, config.bucket("weights"), _inputs(use_case, dataset_digest, code, base), config.checkpoint_every_s
        )
        return train(registry, trainer, manifest, use_case, fetch, code, workdir, checkpoints, base)


def train(
    registry: ModelRegistry,
    trainer: Trainer,
    manifest: Manifest,
    use_case: UseCase,
    fetch: Fetch,
    code: str,
    workdir: Path,
    checkpoints: S3Checkpoints,
    base: BaseWeights | None = None,
) -> TrainingOutcome:
    """Train and record a run. The run is marked finished only when all of it is stored: a killed run is never reused.

    Where a training of these inputs was stopped, this one continues from its last checkpoint. It does so in a new run,
    which names the old one (`resumed_from`) and has the curves of all epochs, because a process that only seems dead
    may still write to the old run.

    Raises:
        TrainingError: see `run`.
    """
    if manifest.classes != use_case.classes:
        raise TrainingError(
            f"expected a dataset of the classes {list(use_case.classes)}, but {manifest.digest} has "
            f"{list(manifest.classes)}; freeze the dataset with this use case"
        )
    size = use_case.input_spec().to_preprocess()
    needs_defects = use_case.training.output == BOXES
    dataset = write_dataset(manifest, fetch, workdir / "dataset", size, use_case.tiles, needs_defects=needs_defects)
    run_id = registry.start_run(
        use_case.name,
        f"train-{manifest.digest[:8]}",
        {**_inputs(use_case, manifest.digest, code, base), "step": "training"},
    )
    try:
        registry.log_params(run_id, _flat(use_case.training.model_dump(mode="json")))
        if use_case.tiles is not None or use_case.shrink != 1:
            registry.log_params(run_id, _flat(use_case.model_dump(mode="json", include={"shrink", "tiles"})))
        registry.log_params(run_id, {f"images_{split}": count for split, count in dataset.images.items()})
        registry.put_artifact(run_id, USE_CASE, use_case.to_json().encode())
        registry.put_artifact(run_id, DATASET_MANIFEST, manifest.to_json())
        registry.put_artifact(run_id, PACKAGES, packages().encode())
        if revision := code_revision():
            registry.set_run_tag(run_id, "code_revision", revision)

        def on_epoch(epoch: int, numbers: Mapping[str, float]) -> None:
            _log.info("epoch %d/%d: %s", epoch, use_case.training.epochs, _brief(numbers))
            try:
                registry.log_metrics(run_id, numbers, step=epoch)
            except ModelRegistryError as e:
                # A gap in a curve is better than the loss of an hour of training.
                _log.warning("the numbers of epoch %d are not recorded: %s", epoch, e)

        keeper = checkpoints.keeper(run_id)

        def train_from(found: StoredCheckpoint | None) -> TrainedModel:
            def told(epoch: int, numbers: Mapping[str, float]) -> None:
                if found and epoch == 1:  # the trainer accepted the checkpoint, and repeats the epochs before it
                    _note_resumed(registry, run_id, found)
                on_epoch(epoch, numbers)

            return trainer.train(
                dataset,
                use_case.training,
                workdir / "training",
                told,
                keeper=keeper,
                resume_from=found.checkpoint if found else None,
            )

        trained = go_on(checkpoints, train_from)
        plain = Preprocess(size.width, size.height)  # the images of the folder are decoded and cut already
        variant = make_variant(trained.onnx_path, dataset, plain, workdir / "int8" / "model.onnx")
        model_sha256 = _store(registry, run_id, trained, variant, dataset)
    except BaseException:
        _mark_failed(registry, run_id)
        raise
    registry.end_run(run_id)
    checkpoints.finished()
    note = f"run {run_id} was trained now"
    if not needs_defects:
        note += f"; {ready_for_detector(manifest)}"
    return TrainingOutcome(run_id, model_sha256, reused=False, note=note)


def _note_resumed(registry: ModelRegistry, run_id: str, found: StoredCheckpoint) -> None:
    """Record in both runs that one continues the other, and end the stopped one."""
    _log.info("continuing after epoch %d of run %s (%s)", found.checkpoint.epoch, found.run_id, found.key)
    try:
        registry.set_run_tag(run_id, "resumed_from", found.run_id)
        registry.set_run_tag(run_id, "resumed_after_epoch", str(found.checkpoint.epoch))
        registry.set_run_tag(found.run_id, "resumed_by", run_id)
        if registry.run(found.run_id).status == "RUNNING":
            registry.end_run(found.run_id, failed=True)
    except ModelRegistryError as e:
        _log.warning("it is not recorded that run %s continues run %s: %s", run_id, found.run_id, e)


def find_finished(
    registry: ModelRegistry, use_case: UseCase, dataset_digest: str, code: str, base: BaseWeights | None = None
) -> TrainingOutcome | None:
    """The newest finished run with the same dataset, training settings, base weights and code, and with its model."""
    for known in registry.find_runs(use_case.name, _inputs(use_case, dataset_digest, code, base)):
        sha256 = known.tags.get("model_sha256", "")
        if sha256 and registry.has_artifact(known.run_id, MODEL_FILE):
            return TrainingOutcome(known.run_id, sha256, reused=True, note=_what_became_of(registry, use_case, known))
    return None


def _what_became_of(registry: ModelRegistry, use_case: UseCase, known: RunInfo) -> str:
    said = f"no new training: run {known.run_id} had the same dataset, training settings and code"
    for version in registry.versions(use_case.name):
        if version.run_id == known.run_id:
            return f"{said}; it is {version.name} version {version.version} (approval: {version.approval or 'none'})"
    gate = known.tags.get("gate", "")
    if gate == "failed":
        failures = known.tags.get("gate_failures", "no check is named")
        said += f"; it did not pass its gate: {failures}. Label more, change the settings, or train again with --force"
    elif gate == "passed":
        said += "; it passed its gate and is registered next"
    else:
        said += "; it is evaluated next"
    return said


def _inputs(use_case: UseCase, dataset_digest: str, code: str, base: BaseWeights | None) -> dict[str, str]:
    """The inputs of a training, as tags of its run. A new gate or rollout policy is no new input."""
    return {
        "dataset_digest": dataset_digest,
        "training_digest": use_case.training_digest,
        "code_digest": code,
        "base_weights_sha256": base.sha256 if base is not None else "none",
        "use_case": use_case.name,
    }


def _store(
    registry: ModelRegistry, run_id: str, trained: TrainedModel, variant: Variant, dataset: DetectionDataset
) -> str:
    data = trained.onnx_path.read_bytes()
    digest = sha256_of(data)
    said: dict[str, Any] = {"made": variant.path is not None, "reason": variant.reason}
    if variant.path is not None:
        int8 = variant.path.read_bytes()
        said["sha256"] = sha256_of(int8)
        registry.put_artifact(run_id, INT8_MODEL_FILE, int8)
        registry.set_run_tag(run_id, INT8_TAG, said["sha256"])
    said_all = with_pictures({**trained.record, "int8": said}, dataset.picture_limits, dataset.picture_counts)
    record = json.dumps(said_all, sort_keys=True, indent=2, ensure_ascii=False).encode()
    registry.put_artifact(run_id, TRAINING_RECORD, record)
    registry.put_artifact(run_id, MODEL_FILE, data)
    registry.set_run_tag(run_id, "model_sha256", digest)
    return digest


def _mark_failed(registry: ModelRegistry, run_id: str) -> None:
    try:
        registry.end_run(run_id, failed=True)
    except ModelRegistryError as e:
        # The operator must see the first error. The run stays RUNNING, and is never reused either.
        _log.warning("run %s could not be marked failed: %s", run_id, e)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten `{"a": {"b": 1}}` to `{"a.b": 1}`, because MLflow's parameters are flat."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flat(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _brief(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in numbers.items() if not name.startswith("lr"))
