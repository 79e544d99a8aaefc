"""Register a run's model with its lineage, for a person to approve."""

from __future__ import annotations

import logging

from components.evaluation_report import EvaluationReport
from components.gate import GateReport, judge
from components.model_registry import (
    CANDIDATE,
    EVALUATION_REPORT,
    GATE_REPORT,
    MODEL_FILE,
    ModelRegistry,
    ModelVersion,
)
from components.settings import settings
from components.use_case import UseCase, parse_use_case
from inspection.image import sha256_of

_log = logging.getLogger(__name__)


class RegistrationError(ValueError):
    """A run that may not be registered."""


def run(run_id: str, use_case_json: str, label_version: int) -> ModelVersion:
    """Register once; running it again returns the same version."""
    use_case = parse_use_case(use_case_json)
    return register(ModelRegistry.from_settings(settings()), run_id, use_case, label_version)


def register(registry: ModelRegistry, run_id: str, use_case: UseCase, label_version: int) -> ModelVersion:
    """A new version with `approval=pending`, `gate=passed`, digests and the alias `candidate`.

    A run that is registered already keeps its version; where it was evaluated again, that is pending again.

    Raises:
        RegistrationError: the gate did not pass, or the model's bytes are not those that were evaluated.
    """
    report = EvaluationReport.from_json(registry.get_artifact(run_id, EVALUATION_REPORT))
    gate = judge(report, use_case.gates)
    if not gate.passed:
        raise RegistrationError(f"run {run_id} did not pass its gate and is not registered: {gate.failures}")
    model_sha256 = sha256_of(registry.get_artifact(run_id, MODEL_FILE))
    if model_sha256 != report.model_sha256:
        raise RegistrationError(f"run {run_id}: {report.model_sha256} was evaluated, but the model is {model_sha256}")
    run_tags = registry.run(run_id).tags
    stored = GateReport.from_json(registry.get_artifact(run_id, GATE_REPORT))
    tags = {
        "approval": "pending",
        "gate": "passed",
        "dataset_digest": report.dataset_digest,
        "code_digest": run_tags.get("code_digest", ""),
        "model_sha256": model_sha256,
        "evaluation_digest": sha256_of(report.to_json()),
        "use_case_digest": use_case.digest,
        "label_version": str(label_version),
    }
    version = registry.create_version(use_case.name, run_id, tags, describe(report, stored))
    if any(version.tags.get(key) != tags[key] for key in ("evaluation_digest", "use_case_digest")):
        # The run was evaluated again under another policy: what a person approved was the earlier report.
        registry.set_description(version, describe(report, stored))
        for key, value in tags.items():
            registry.set_tag(version, key, value)
        version = registry.version(version.name, version.version)
    registry.set_alias(version, CANDIDATE)
    _log.info("registered %s version %d, waiting for approval", version.name, version.version)
    return version


def describe(report: EvaluationReport, gate: GateReport) -> str:
    """What the approver sees first, as Markdown."""
    test = report.test
    lines = [
        f"**Test split** ({test.images} images of {test.parts} parts): mAP50 {test.map50:.3f}, "
        f"mAP50-95 {test.map50_95:.3f}, precision {test.precision:.3f}, recall {test.recall:.3f}",
        f"**Escape rate** {test.escape} · **overkill rate** {test.overkill}",
        f"Operating threshold: {', '.join(f'{k} {v.fail:.2f}' for k, v in report.thresholds.items())} "
        f"({report.threshold_source})",
    ]
    if report.champion is not None:
        champion = report.champion
        lines.append(
            f"**Champion** (version {champion.version}) on the same split: mAP50 {champion.test.map50:.3f}, "
            f"escape {champion.test.escape}, overkill {champion.test.overkill}"
        )
    lines.append("| Gate | Value | Bound | |\n|---|---|---|---|")
    lines[-1] += "".join(f"\n| {c.name} | {c.value} | {c.bound} | {'✓' if c.passed else '✗'} |" for c in gate.checks)
    lines.append(f"Dataset `{report.dataset_digest}`, model `{report.model_sha256}`")
    lines.append("To approve, set this version's tag `approval` to `approved` (or `rejected`).")
    return "\n\n".join(lines)
