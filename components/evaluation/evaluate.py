"""The steps of evaluation: read a training run, score its models, judge the gate, and store the result with the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from components.evaluation.curves import Curves
from components.evaluation.origins import origins_of
from components.evaluation.plots import confusion_svg, precision_recall_svg, score_histogram_svg
from components.evaluation.report_page import ExampleImage, render
from components.evaluation.scoring import Evaluation, ModelUnderTest, evaluate
from components.settings import Settings
from components.stores.datasets.manifest import SplitName, load_manifest
from components.stores.models.champion import champion
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.gate import GateReport, judge_by
from components.stores.models.registry import (
    CURVES,
    EVALUATION_REPORT,
    GATE_REPORT,
    GOLDEN,
    INT8_MODEL_FILE,
    INT8_TAG,
    MODEL_FILE,
    REPORT_PAGE,
    TRAINING_RECORD,
    USE_CASE,
    ModelRegistry,
    NoSuchModel,
)
from components.stores.objects.image_cache import cached
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages
from components.use_case import UseCase
from inspection.image import sha256_of

_log = logging.getLogger(__name__)


class EvaluationError(ValueError):
    """The stored bytes of a run are not those that were trained or evaluated."""


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """An evaluation, as it is stored with its training run.

    report_digest: SHA-256 of the stored bytes of the report. curves, page: None where an earlier program evaluated the
    run and did not write them. page: HTML.
    """

    report: EvaluationReport
    report_digest: str
    gate: GateReport
    curves: Curves | None
    page: bytes | None


def run(config: Settings, run_id: str, dataset_digest: str, use_case: UseCase) -> StoredEvaluation:
    """Evaluate one training run, judge the gate, and store report, gate, plots and golden samples with the run.

    Where the run was evaluated with these inputs already, return what is stored and change nothing: a person may have
    approved a version on that report.

    Raises:
        EvaluationError: the run's models do not have the bytes that the training recorded.
    """
    registry = ModelRegistry.from_settings(config)
    store = S3ObjectStore.from_settings(config)
    manifest = load_manifest(store, config.bucket("datasets"), dataset_digest)
    models = _models(registry, run_id)
    done = _stored(registry, run_id, sha256_of(models.onnx), dataset_digest, use_case)
    if done is not None:
        _log.info("run %s was evaluated with these inputs already; its report stands", run_id)
    else:
        entries = [*manifest.of(SplitName.VAL), *manifest.of(SplitName.TEST)]
        found = evaluate(
            models,
            manifest,
            use_case,
            cached(RawImages(store, config.bucket("raw")).fetch, config, [entry.sha256 for entry in entries]),
            champion(registry, use_case.name),
            origins=origins_of(store, entries),
        )
        done = _store(registry, run_id, use_case, found)
    for check in done.gate.checks:
        _log.info("%s %s: %s (expected %s)", "PASS" if check.passed else "FAIL", check.name, check.value, check.bound)
    return done


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
    gate, model = _gate(registry, run_id), EvaluationReport.from_json(data).model_sha256
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


def _checked(registry: ModelRegistry, run_id: str, path: str, expected: str) -> bytes:
    data = registry.get_artifact(run_id, path)
    if sha256_of(data) != expected:
        raise EvaluationError(
            f"run {run_id} was tagged with model {expected or '(none)'}, but the bytes of {path} are "
            f"{sha256_of(data)}; train again with --force"
        )
    return data


def _stored(
    registry: ModelRegistry, run_id: str, model_sha256: str, dataset_digest: str, use_case: UseCase
) -> StoredEvaluation | None:
    """The stored evaluation of these inputs; None where there is none, or only a part of one."""
    if "gate" not in registry.run(run_id).tags:  # written last: an evaluation that was killed is done again
        return None
    data = registry.get_artifact(run_id, EVALUATION_REPORT)
    report = EvaluationReport.from_json(data)
    found = (report.model_sha256, report.dataset_digest, report.use_case_digest)
    if found != (model_sha256, dataset_digest, use_case.digest):
        return None
    curves, page = _optional(registry, run_id, CURVES), _optional(registry, run_id, REPORT_PAGE)
    return StoredEvaluation(
        report, sha256_of(data), _gate(registry, run_id), Curves.from_json(curves) if curves else None, page
    )


def _gate(registry: ModelRegistry, run_id: str) -> GateReport:
    return GateReport.from_json(registry.get_artifact(run_id, GATE_REPORT))


def _optional(registry: ModelRegistry, run_id: str, path: str) -> bytes | None:
    try:
        return registry.get_artifact(run_id, path)
    except NoSuchModel:
        return None


def _store(registry: ModelRegistry, run_id: str, use_case: UseCase, found: Evaluation) -> StoredEvaluation:
    """Judge the gate and store all of an evaluation: the report after what belongs to it, and the tag `gate` last."""
    report, gate, plots = found.report, judge_by(found.report, use_case), draw_plots(found.report, found.curves)
    for name, data in found.golden_files.items():
        registry.put_artifact(run_id, f"golden/{name}", data)
    registry.put_artifact(run_id, GOLDEN, found.golden.to_json())
    for name, svg in plots.items():
        registry.put_artifact(run_id, f"evaluation/plots/{name}.svg", svg.encode())
    for name, (data, _) in found.examples.items():
        registry.put_artifact(run_id, f"evaluation/examples/{name}", data)
    registry.put_artifact(run_id, CURVES, found.curves.to_json())
    examples = [ExampleImage(name, caption, data) for name, (data, caption) in found.examples.items()]
    by_upper_end = use_case.gates.bound == "upper_95"
    page = render(
        report, gate, plots, examples, use_case=use_case.name, run_id=run_id, by_upper_end=by_upper_end
    ).encode()
    registry.put_artifact(run_id, REPORT_PAGE, page)
    # A run is reused where only policy changed; a release takes the policy that its model was judged by.
    registry.put_artifact(run_id, USE_CASE, use_case.to_json().encode())
    registry.put_artifact(run_id, GATE_REPORT, gate.to_json())
    registry.put_artifact(run_id, EVALUATION_REPORT, report.to_json())
    registry.log_metrics(run_id, numbers(report))
    registry.set_run_tag(run_id, "gate_failures", gate.failures)
    registry.set_run_tag(run_id, "gate", "passed" if gate.passed else "failed")
    return StoredEvaluation(report, sha256_of(report.to_json()), gate, found.curves, page)


def draw_plots(report: EvaluationReport, curves: Curves) -> dict[str, str]:
    """The plots of the report page: name -> SVG."""
    return {
        "precision-recall": precision_recall_svg(curves),
        "scores": score_histogram_svg(curves, report.thresholds),
        "confusion": confusion_svg(curves),
    }


def numbers(report: EvaluationReport) -> Mapping[str, float]:
    """The metrics that MLflow and Kubeflow Pipelines show, by name; without those that could not be measured."""
    test = report.test
    found: dict[str, float | None] = {
        "test_map50": test.map50,
        "test_map50_95": test.map50_95,
        "test_precision": test.precision,
        "test_recall": test.recall,
        "test_escape_rate": test.escape.value,
        "test_overkill_rate": test.overkill.value,
        "test_review_rate": test.review.value if test.review is not None else None,
        "latency_ms_p50": report.latency_ms_p50,
    }
    if report.deployed is not None:
        found["latency_ms_p95"] = report.deployed.latency_ms_p95
        found["peak_memory_mb"] = report.deployed.peak_memory_bytes / 1e6 or None
    if report.champion is not None:
        found["champion_test_map50"] = report.champion.test.map50
    return {name: value for name, value in found.items() if value is not None}
