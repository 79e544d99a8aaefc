"""An evaluation as it is stored with its training run: the report, the gate's judgement, latency, curves and page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from components.evaluation.curves import Curves
from components.evaluation.plots import confusion_svg, precision_recall_svg, reliability_svg, score_histogram_svg
from components.evaluation.report_page import ExampleImage, render
from components.evaluation.scoring import Evaluation
from components.stores.models.evaluation_report import Deployed, EvaluationReport
from components.stores.models.gate import LATENCY, GateReport, judge_by
from components.stores.models.latency_report import LatencyReport
from components.stores.models.registry import (
    CURVES,
    EVALUATION_REPORT,
    EXAMPLES,
    GATE_REPORT,
    GOLDEN,
    LATENCY_REPORT,
    REPORT_PAGE,
    USE_CASE,
    ModelRegistry,
)
from components.use_case import UseCase
from inspection.codec import canonical_json
from inspection.image import sha256_of

_CAPTIONS: Final = f"{EXAMPLES}/captions.json"


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """An evaluation, as it is stored with its training run.

    report_digest: SHA-256 of the stored bytes of the report. latency: None where an earlier program evaluated the run;
    its report has the latency. curves, page: None where such a program did not write them. page: HTML.
    """

    report: EvaluationReport
    report_digest: str
    gate: GateReport
    latency: LatencyReport | None
    curves: Curves | None
    page: bytes | None

    @property
    def is_too_slow(self) -> bool:
        """Whether the gate's check of the latency budget does not hold."""
        return any(check.name == LATENCY and not check.passed for check in self.gate.checks)


def read_gate(registry: ModelRegistry, run_id: str) -> GateReport:
    """The gate's judgement of a run.

    Raises:
        NoSuchModel: the run was not evaluated.
    """
    return GateReport.from_json(registry.get_artifact(run_id, GATE_REPORT))


def read(
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
    curves, latency = registry.find_artifact(run_id, CURVES), registry.find_artifact(run_id, LATENCY_REPORT)
    return StoredEvaluation(
        report,
        sha256_of(data),
        read_gate(registry, run_id),
        LatencyReport.from_json(latency) if latency else None,
        Curves.from_json(curves) if curves else None,
        registry.find_artifact(run_id, REPORT_PAGE),
    )


def write(
    registry: ModelRegistry, run_id: str, use_case: UseCase, found: Evaluation, now: datetime
) -> StoredEvaluation:
    """Judge the gate and store all of an evaluation: the report after what belongs to it, and the tag `gate` last."""
    report, latency = found.report, _latency(found.report, found.deployed, now)
    gate = judge_by(report, use_case, latency)
    for name, data in found.golden_files.items():
        registry.put_artifact(run_id, f"golden/{name}", data)
    registry.put_artifact(run_id, GOLDEN, found.golden.to_json())
    for name, svg in draw_plots(report, found.curves).items():
        registry.put_artifact(run_id, f"evaluation/plots/{name}.svg", svg.encode())
    for name, (data, _) in found.examples.items():
        registry.put_artifact(run_id, f"{EXAMPLES}/{name}", data)
    captions = {name: caption for name, (_, caption) in found.examples.items()}
    registry.put_artifact(run_id, _CAPTIONS, canonical_json(captions))
    registry.put_artifact(run_id, CURVES, found.curves.to_json())
    examples = [ExampleImage(name, caption, data) for name, (data, caption) in found.examples.items()]
    page = _page(report, gate, latency, found.curves, examples, use_case, run_id)
    # A run is reused where only policy changed; a release takes the policy that its model was judged by.
    registry.put_artifact(run_id, USE_CASE, use_case.to_json().encode())
    registry.put_artifact(run_id, LATENCY_REPORT, latency.to_json())
    registry.put_artifact(run_id, REPORT_PAGE, page)
    registry.put_artifact(run_id, GATE_REPORT, gate.to_json())
    registry.put_artifact(run_id, EVALUATION_REPORT, report.to_json())
    _say(registry, run_id, report, latency, gate)
    return StoredEvaluation(report, sha256_of(report.to_json()), gate, latency, found.curves, page)


def write_latency(
    registry: ModelRegistry,
    run_id: str,
    use_case: UseCase,
    done: StoredEvaluation,
    deployed: Mapping[str, Deployed],
    now: datetime,
) -> StoredEvaluation:
    """Store another latency and what follows from it: the gate, and the page where all that it shows is stored.

    The report stays as it is, byte for byte: an approval may rest on it.
    """
    latency = _latency(done.report, deployed, now)
    gate, page = judge_by(done.report, use_case, latency), done.page
    registry.put_artifact(run_id, LATENCY_REPORT, latency.to_json())
    captions = registry.find_artifact(run_id, _CAPTIONS)
    if captions is not None and done.curves is not None:
        examples = [
            ExampleImage(name, caption, registry.get_artifact(run_id, f"{EXAMPLES}/{name}"))
            for name, caption in json.loads(captions).items()
        ]
        page = _page(done.report, gate, latency, done.curves, examples, use_case, run_id)
        registry.put_artifact(run_id, REPORT_PAGE, page)
    registry.put_artifact(run_id, GATE_REPORT, gate.to_json())
    _say(registry, run_id, done.report, latency, gate)
    return replace(done, gate=gate, latency=latency, page=page)


def _latency(report: EvaluationReport, deployed: Mapping[str, Deployed], now: datetime) -> LatencyReport:
    return LatencyReport(
        model_sha256=report.model_sha256, measured_at=now, deployed=deployed["fp32"], int8=deployed.get("int8")
    )


def _page(
    report: EvaluationReport,
    gate: GateReport,
    latency: LatencyReport,
    curves: Curves,
    examples: list[ExampleImage],
    use_case: UseCase,
    run_id: str,
) -> bytes:
    return render(
        report,
        gate,
        draw_plots(report, curves),
        examples,
        latency=latency,
        use_case=use_case.name,
        run_id=run_id,
        by_upper_end=use_case.gates.bound == "upper_95",
    ).encode()


def _say(
    registry: ModelRegistry, run_id: str, report: EvaluationReport, latency: LatencyReport, gate: GateReport
) -> None:
    registry.log_metrics(run_id, numbers(report, latency))
    registry.set_run_tag(run_id, "gate_failures", gate.failures)
    registry.set_run_tag(run_id, "gate", "passed" if gate.passed else "failed")


def draw_plots(report: EvaluationReport, curves: Curves) -> dict[str, str]:
    """The plots of the report page: name -> SVG."""
    return {
        "precision-recall": precision_recall_svg(curves),
        "scores": score_histogram_svg(curves, report.thresholds),
        "confusion": confusion_svg(curves),
        **({"reliability": reliability_svg(curves)} if curves.reliability else {}),
    }


def numbers(report: EvaluationReport, latency: LatencyReport | None) -> Mapping[str, float]:
    """The metrics that MLflow and Kubeflow Pipelines show, by name; without those that could not be measured."""
    test = report.test
    found: dict[str, float | None] = {
        "test_map50": test.map50,
        "test_image_auroc": test.image_auroc,
        "test_map50_95": test.map50_95,
        "test_precision": test.precision,
        "test_recall": test.recall,
        "test_escape_rate": test.escape.value,
        "test_overkill_rate": test.overkill.value,
        "test_review_rate": test.review.value if test.review is not None else None,
    }
    deployed = latency.deployed if latency is not None else report.deployed
    if deployed is not None:
        found["latency_ms_p50"] = deployed.latency_ms_p50
        found["latency_ms_p95"] = deployed.latency_ms_p95
        found["peak_memory_mb"] = deployed.peak_memory_bytes / 1e6 or None
    if report.champion is not None:
        found["champion_test_map50"] = report.champion.test.map50
    return {name: value for name, value in found.items() if value is not None}
