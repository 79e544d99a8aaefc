"""The steps of evaluation: read a training run, score its models, judge the gate, and store the result with the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from components.evaluation import stored
from components.evaluation.latency import InspectionSettings, Measure, measure
from components.evaluation.origins import origins_of
from components.evaluation.pictures import Pictures
from components.evaluation.scoring import ModelUnderTest, evaluate
from components.evaluation.stored import StoredEvaluation
from components.settings import Settings
from components.stores.datasets.manifest import Manifest, ManifestError, SplitName, load_manifest
from components.stores.models.champion import Champion, champion, running_champion
from components.stores.models.comparison import compares_with
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.registry import (
    EVALUATION_REPORT,
    GATE_REPORT,
    INT8_MODEL_FILE,
    INT8_TAG,
    MODEL_FILE,
    REPORT_PAGE,
    TRAINING_RECORD,
    ModelRegistry,
    NoSuchModel,
)
from components.stores.models.training_record import MeasuredPictures, pictures_of
from components.stores.objects.image_cache import Fetch, cached
from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from components.stores.raw_images.images import RawImages
from components.use_case import UseCase
from inspection.codec import DocumentError
from inspection.image import sha256_of

_log = logging.getLogger(__name__)


class EvaluationError(ValueError):
    """The stored bytes of a run are not those that were trained or evaluated."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def run(
    config: Settings,
    run_id: str,
    dataset_digest: str,
    use_case: UseCase,
    *,
    again: bool = False,
    measure: Measure = measure,
    clock: Callable[[], datetime] = _utc_now,
) -> StoredEvaluation:
    """Evaluate one training run, judge the gate, and store report, gate, plots and golden samples with the run.

    Where the run was evaluated with these inputs already, its report stands: a person may have approved a version on
    it. Only the latency is measured again, where it was too high. A run that failed its gate beside another champion
    than that of now is evaluated anew, because nothing rests on its report.

    Args:
        again: evaluate anew unless the report compares with the champion of now; measure the latency again.
        measure: times the models, see `latency.measure`.

    Raises:
        EvaluationError: the run's models do not have the bytes that the training recorded, or the dataset has other
            classes than the use case.
    """
    registry = ModelRegistry.from_settings(config)
    store = S3ObjectStore.from_settings(config)
    manifest = load_manifest(store, config.bucket("datasets"), dataset_digest)
    if manifest.classes != use_case.classes:
        raise EvaluationError(
            f"expected a dataset of the classes {list(use_case.classes)}, but {dataset_digest} has "
            f"{list(manifest.classes)}; train with this use case"
        )
    models = _models(registry, run_id)
    fetch = RawImages(store, config.bucket("raw")).fetch
    done = stored.read(registry, run_id, sha256_of(models.onnx), dataset_digest, use_case)
    if done is None or _has_to_be_redone(registry, run_id, use_case, done, again):
        entries = [*manifest.of(SplitName.VAL), *manifest.of(SplitName.TEST)]
        beside = champion(registry, use_case.name)
        # The champion is not compared with itself.
        beside = beside if beside is not None and beside.version.run_id != run_id else None
        found = evaluate(
            replace(models, measured=_pictures(registry, run_id)),
            manifest,
            use_case,
            cached(fetch, config, [entry.sha256 for entry in entries]),
            beside,
            champion_manifest=_manifest_of(store, config.bucket("datasets"), beside),
            origins=origins_of(store, entries),
            measure=measure,
        )
        done = stored.write(registry, run_id, use_case, found, clock())
    elif again or done.is_too_slow:
        _log.info("run %s was evaluated with these inputs already; its latency is measured again", run_id)
        done = _time_again(registry, run_id, use_case, models, manifest, fetch, done, measure, clock())
    else:
        _log.info("run %s was evaluated with these inputs already; its report stands", run_id)
    for check in done.gate.checks:
        _log.info("%s %s: %s (expected %s)", "PASS" if check.passed else "FAIL", check.name, check.value, check.bound)
    return done


def _has_to_be_redone(
    registry: ModelRegistry, run_id: str, use_case: UseCase, done: StoredEvaluation, again: bool
) -> bool:
    if again and done.report.schema_version < EvaluationReport.newest:
        return True
    if done.gate.passed and not again:
        return False
    running = running_champion(registry, use_case.name)
    if running is not None and registry.version(use_case.name, running.version).run_id == run_id:
        return False
    return not compares_with(done.report, running)


def _time_again(
    registry: ModelRegistry,
    run_id: str,
    use_case: UseCase,
    models: ModelUnderTest,
    manifest: Manifest,
    fetch: Fetch,
    done: StoredEvaluation,
    measure: Measure,
    now: datetime,
) -> StoredEvaluation:
    report = done.report
    timed = {"fp32": models.onnx} | ({"int8": models.int8} if models.int8 is not None and report.int8_sha256 else {})
    settings = InspectionSettings(report.classes, report.thresholds, report.nms, report.output, report.preprocess)
    found = measure(timed, Pictures(manifest.of(SplitName.TEST), fetch).some(16), settings)
    deployed = {name: one.deployed for name, one in found.items()}
    return stored.write_latency(registry, run_id, use_case, done, deployed, now)


def _manifest_of(store: S3ObjectStore, bucket: str, former: Champion | None) -> Manifest | None:
    """The dataset of the champion; None, and a line in the log, where it cannot be read."""
    if former is None:
        return None
    try:
        return load_manifest(store, bucket, former.report.dataset_digest)
    except (ObjectNotFound, ManifestError, DocumentError) as e:
        _log.warning("what the champion learned from is not known: %s", e)
        return None


def passes_gate(registry: ModelRegistry, run_id: str, report_digest: str) -> bool:
    """Whether the gate, as the evaluation judged and stored it, lets the run pass.

    Raises:
        EvaluationError: the stored report is not the one with `report_digest`, or the gate judged another model.
    """
    data = registry.get_artifact(run_id, EVALUATION_REPORT)
    if sha256_of(data) != report_digest:
        raise EvaluationError(
            f"run {run_id}: expected the evaluation report {report_digest}, found {sha256_of(data)}; "
            "run the pipeline again, and not twice at once for the same labels"
        )
    gate, model = stored.read_gate(registry, run_id), EvaluationReport.from_json(data).model_sha256
    if gate.model_sha256 != model:
        raise EvaluationError(
            f"run {run_id}: expected {GATE_REPORT} to judge model {model}, but it judges {gate.model_sha256}; "
            "run the pipeline again, and not twice at once for the same labels"
        )
    if gate.passed:
        _log.info("run %s passes the gate: all %d checks hold", run_id, len(gate.checks))
    else:
        _log.warning(
            "run %s does not pass the gate: %s. It is not registered; its report stays with the run (%s). Label more "
            "of what it gets wrong, or change the training settings, and train again",
            run_id, gate.failures, REPORT_PAGE,
        )  # fmt: skip
    return gate.passed


def _models(registry: ModelRegistry, run_id: str) -> ModelUnderTest:
    """The models of a run.

    Raises:
        EvaluationError: one has not the bytes that it was tagged with.
    """
    tags = registry.run(run_id).tags
    onnx = _checked(registry, run_id, MODEL_FILE, tags.get("model_sha256", ""))
    digest = tags.get(INT8_TAG, "")
    if digest:
        return ModelUnderTest(onnx, _checked(registry, run_id, INT8_MODEL_FILE, digest))
    try:
        record = json.loads(registry.get_artifact(run_id, TRAINING_RECORD))
    except NoSuchModel:
        record = {}
    said = record.get("int8", {}).get("reason")
    return ModelUnderTest(onnx, None, f"none was made: {said}") if said else ModelUnderTest(onnx)


def _pictures(registry: ModelRegistry, run_id: str) -> MeasuredPictures:
    """What the training measured of its pictures; nothing for a run of an earlier version.

    Raises:
        EvaluationError: the training's record cannot be read.
    """
    try:
        return pictures_of(registry.get_artifact(run_id, TRAINING_RECORD))
    except NoSuchModel:
        return MeasuredPictures()
    except DocumentError as e:
        raise EvaluationError(f"run {run_id}: {e}; train again with --force") from e


def _checked(registry: ModelRegistry, run_id: str, path: str, expected: str) -> bytes:
    data = registry.get_artifact(run_id, path)
    if sha256_of(data) != expected:
        raise EvaluationError(
            f"run {run_id} was tagged with model {expected or '(none)'}, but the bytes of {path} are "
            f"{sha256_of(data)}; train again with --force"
        )
    return data
