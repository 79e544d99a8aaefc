"""The evidence for an approval: bytes, report, use case and gate of one version, checked against the version's tags.

A pure rule. MLflow's server applies it when a person approves; the signer applies it again before it signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.gate import judge_by
from components.stores.models.latency_report import LatencyReport
from components.use_case import UseCase, UseCaseError, parse_use_case
from inspection.codec import DocumentError
from inspection.image import sha256_of


class EvidenceError(ValueError):
    """The tags and artifacts of a version do not belong together, or the version does not pass its gate."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The checked documents of a version."""

    report: EvaluationReport
    use_case: UseCase


def check_gate_tag(where: str, tags: Mapping[str, str]) -> None:
    """Refuse a version that was not registered as passed. Reads tags only, no artifact.

    Raises:
        EvidenceError: the tag `gate` is not `passed`.
    """
    gate = tags.get("gate", "")
    if gate != "passed":
        raise EvidenceError(f"{where} cannot be approved: expected its gate tag to be 'passed', but it is {gate!r}")


def check_model(where: str, tags: Mapping[str, str], onnx: bytes) -> str:
    """Check a model's bytes against the tag `model_sha256` and return their SHA-256.

    Raises:
        EvidenceError: the bytes have another SHA-256.
    """
    expected, actual = tags.get("model_sha256", ""), sha256_of(onnx)
    if actual != expected:
        raise EvidenceError(
            f"{where} cannot be approved: it was registered with model {expected or '(none)'}, "
            f"but its bytes are now {actual}; train and register it again"
        )
    return actual


def check_evidence(
    model: str,
    version: int,
    tags: Mapping[str, str],
    *,
    onnx: bytes,
    report: bytes,
    use_case: bytes,
    latency: bytes | None,
) -> Evidence:
    """Check the tags of a version against its artifacts, and judge the gate again.

    tags: of the version. onnx, report, use_case, latency: the artifacts `model/model.onnx`, `evaluation/report.json`,
    `use_case.json` and `evaluation/latency.json` of its run. No tag names the latency: it is measured again on demand.

    Raises:
        EvidenceError: the first check that fails, in words for the approver.
    """
    where = f"{model} version {version}"
    check_gate_tag(where, tags)
    model_sha256 = check_model(where, tags, onnx)
    try:
        policy = parse_use_case(use_case.decode(errors="replace"), where=f"the use case of {where}")
        measured = EvaluationReport.from_json(report)
        timed = LatencyReport.from_json(latency) if latency is not None else None
    except (UseCaseError, DocumentError) as e:
        raise EvidenceError(str(e)) from e
    if policy.name != model:
        raise EvidenceError(f"{where} was trained for the use case {policy.name}")
    # Of the stored bytes: a later program adds keys with their defaults, and the digest of what it read is another.
    if sha256_of(use_case) != tags.get("use_case_digest"):
        raise EvidenceError(f"{where}: the use case is not the one that was registered; evaluate and register it again")
    if sha256_of(report) != tags.get("evaluation_digest"):
        raise EvidenceError(f"{where}: the evaluation report is not the one that was registered; evaluate it again")
    if measured.model_sha256 != model_sha256:
        raise EvidenceError(f"{where}: {measured.model_sha256} was evaluated, but the model is {model_sha256}")
    if timed is not None and timed.model_sha256 != model_sha256:
        raise EvidenceError(f"{where}: the latency is that of another model, {timed.model_sha256}; measure it again")
    gate = judge_by(measured, policy, timed)
    if not gate.passed:
        raise EvidenceError(f"{where} does not pass its gate: {gate.failures}")
    return Evidence(measured, policy)
