"""The steps of evaluation: read a run, score it, keep what was found with the run, and apply the gate."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from components.evaluation.cameras import cameras_of
from components.evaluation.curves import Curves
from components.evaluation.plots import confusion_svg, precision_recall_svg, score_histogram_svg
from components.evaluation.report_page import Picture, render
from components.evaluation.scoring import Candidate, Evaluation, evaluate
from components.settings import settings
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
from components.use_case import UseCase, parse_use_case
from inspection.image import sha256_of

_log = logging.getLogger(__name__)


class EvaluationError(ValueError):
    """What should be scored is not what was trained."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The outcome of the step."""

    passed: bool
    map50: float
    report_digest: str
    failures: str


def run(run_id: str, dataset_digest: str, use_case_json: str) -> Evaluated:
    """Evaluate one training run and store report, gate, plots and golden samples with it.

    Running it again with the same inputs returns what is stored: a version may have been approved on that report.
    """
    use_case = parse_use_case(use_case_json)
    config = settings()
    registry = ModelRegistry.from_settings(config)
    store = S3ObjectStore.from_settings(config)
    manifest = load_manifest(store, config.bucket("datasets"), dataset_digest)
    candidate = _candidate(registry, run_id)
    data = _stored(registry, run_id, sha256_of(candidate.onnx), dataset_digest, use_case)
    if data is not None:
        _log.info("run %s was evaluated with these inputs already; its report stands", run_id)
        report = EvaluationReport.from_json(data)
        gate = judge_by(report, use_case)
        _tag(registry, run_id, gate)
    else:
        entries = [*manifest.of(SplitName.VAL), *manifest.of(SplitName.TEST)]
        found = evaluate(
            candidate,
            manifest,
            use_case,
            cached(RawImages(store, config.bucket("raw")).fetch, config, [entry.sha256 for entry in entries]),
            champion(registry, use_case.name),
            cameras=cameras_of(store, entries),
        )
        report, data = found.report, found.report.to_json()
        gate = judge_by(report, use_case)
        _store(registry, run_id, use_case, found, gate)
    for check in gate.checks:
        _log.info("%s %s: %s (expected %s)", "PASS" if check.passed else "FAIL", check.name, check.value, check.bound)
    return Evaluated(gate.passed, report.test.map50, sha256_of(data), gate.failures)


def passes_gate(run_id: str, use_case_json: str, report_digest: str) -> bool:
    """Apply the gate to the stored report.

    Raises:
        EvaluationError: the stored report is another one.
    """
    data = ModelRegistry.from_settings(settings()).get_artifact(run_id, EVALUATION_REPORT)
    if sha256_of(data) != report_digest:
        raise EvaluationError(
            f"run {run_id}: expected the evaluation report {report_digest}, found {sha256_of(data)}; "
            "run the pipeline again, and not twice at once for the same labels"
        )
    gate = judge_by(EvaluationReport.from_json(data), parse_use_case(use_case_json))
    if gate.passed:
        _log.info("the gate lets run %s pass: all %d checks hold", run_id, len(gate.checks))
    else:
        _log.warning(
            "the gate holds run %s back: %s. It is not registered; its report stays with the run (%s). Label more of "
            "what it gets wrong, or change the training settings, and train again",
            run_id, gate.failures, REPORT_PAGE,
        )  # fmt: skip
    return gate.passed


def _candidate(registry: ModelRegistry, run_id: str) -> Candidate:
    """The models of a run.

    Raises:
        EvaluationError: one has not the bytes that it was tagged with.
    """
    tags = registry.run(run_id).tags
    onnx = _checked(registry, run_id, MODEL_FILE, tags.get("model_sha256", ""))
    digest = tags.get(INT8_TAG, "")
    if digest:
        return Candidate(onnx, _checked(registry, run_id, INT8_MODEL_FILE, digest))
    try:
        record = json.loads(registry.get_artifact(run_id, TRAINING_RECORD))
    except NoSuchModel:
        record = {}
    said = record.get("int8", {}).get("reason")
    return Candidate(onnx, None, f"none was made: {said}") if said else Candidate(onnx)


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
) -> bytes | None:
    """The bytes of the report, where one of these inputs is stored as a whole."""
    if "gate" not in registry.run(run_id).tags:  # written last: an evaluation that was killed is done again
        return None
    data = registry.get_artifact(run_id, EVALUATION_REPORT)
    report = EvaluationReport.from_json(data)
    found = (report.model_sha256, report.dataset_digest, report.use_case_digest)
    return data if found == (model_sha256, dataset_digest, use_case.digest) else None


def _store(registry: ModelRegistry, run_id: str, use_case: UseCase, found: Evaluation, gate: GateReport) -> None:
    """The report comes after all that belongs to it, and the tag `gate` last."""
    report, plots = found.report, draw_plots(found.report, found.curves)
    for name, data in found.golden_files.items():
        registry.put_artifact(run_id, f"golden/{name}", data)
    registry.put_artifact(run_id, GOLDEN, found.golden.to_json())
    for name, svg in plots.items():
        registry.put_artifact(run_id, f"evaluation/plots/{name}.svg", svg.encode())
    for name, (data, _) in found.examples.items():
        registry.put_artifact(run_id, f"evaluation/examples/{name}", data)
    registry.put_artifact(run_id, CURVES, found.curves.to_json())
    pictures = [Picture(name, caption, data) for name, (data, caption) in found.examples.items()]
    page = render(report, gate, plots, pictures, use_case=use_case.name, run_id=run_id)
    registry.put_artifact(run_id, REPORT_PAGE, page.encode())
    # A run is reused where only policy changed; a release takes the policy that its model was judged by.
    registry.put_artifact(run_id, USE_CASE, use_case.to_json().encode())
    registry.put_artifact(run_id, GATE_REPORT, gate.to_json())
    registry.put_artifact(run_id, EVALUATION_REPORT, report.to_json())
    registry.log_metrics(run_id, numbers(report))
    _tag(registry, run_id, gate)


def draw_plots(report: EvaluationReport, curves: Curves) -> dict[str, str]:
    """Name -> SVG."""
    return {
        "precision-recall": precision_recall_svg(curves),
        "scores": score_histogram_svg(curves, report.thresholds),
        "confusion": confusion_svg(curves),
    }


def numbers(report: EvaluationReport) -> Mapping[str, float]:
    """What MLflow and Kubeflow Pipelines show as metrics; what could not be measured is left out."""
    test = report.test
    found: dict[str, float | None] = {
        "test_map50": test.map50,
        "test_map50_95": test.map50_95,
        "test_precision": test.precision,
        "test_recall": test.recall,
        "test_escape_rate": test.escape.value,
        "test_overkill_rate": test.overkill.value,
        "latency_ms_p50": report.latency_ms_p50,
    }
    if report.deployed is not None:
        found["latency_ms_p95"] = report.deployed.latency_ms_p95
        found["peak_memory_mb"] = report.deployed.peak_memory_bytes / 1e6 or None
    if report.champion is not None:
        found["champion_test_map50"] = report.champion.test.map50
    return {name: value for name, value in found.items() if value is not None}


def _tag(registry: ModelRegistry, run_id: str, gate: GateReport) -> None:
    state = "passed" if gate.passed else "failed"
    tags = registry.run(run_id).tags
    if tags.get("gate_failures", "") != gate.failures:
        registry.set_run_tag(run_id, "gate_failures", gate.failures)
    if tags.get("gate") != state:
        registry.set_run_tag(run_id, "gate", state)
