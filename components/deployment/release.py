"""Makes the files of a release, or of a candidate, from a model version, and checks everything again."""

from __future__ import annotations

from dataclasses import dataclass

from components.stores.models.approval import require_approval
from components.stores.models.approval_evidence import EvidenceError, check_evidence
from components.stores.models.champion import running_champion
from components.stores.models.comparison import why_not
from components.stores.models.evaluation_report import EvaluationReport, GoldenSet
from components.stores.models.registry import (
    EVALUATION_REPORT,
    GOLDEN,
    INT8_MODEL_FILE,
    INT8_TAG,
    LATENCY_REPORT,
    MODEL_FILE,
    USE_CASE,
    ModelRegistry,
    ModelVersion,
)
from components.use_case import UseCase
from inspection.documents import Candidate, ModelFile, Release
from inspection.image import sha256_of

MIN_AGENT_VERSION = "0.1.0"


class ReleaseError(ValueError):
    """A version that may not be released."""


@dataclass(frozen=True, slots=True)
class BuiltRelease:
    """`release.json` and the files beside it (plain name -> bytes). report: the evaluation that was approved."""

    release: Release
    files: dict[str, bytes]
    use_case: UseCase
    report: EvaluationReport

    def targets(self) -> list[tuple[str, bytes]]:
        """Return the TUF target path and the bytes of each file."""
        return _targets(f"releases/{self.release.digest}", self.files, "release.json", self.release)


@dataclass(frozen=True, slots=True)
class BuiltCandidate:
    """`candidate.json` and the files beside it (plain name -> bytes)."""

    candidate: Candidate
    files: dict[str, bytes]
    use_case: UseCase

    def targets(self) -> list[tuple[str, bytes]]:
        """Return the TUF target path and the bytes of each file. No device takes a release from these paths."""
        return _targets(f"shadow/{self.candidate.digest}", self.files, "candidate.json", self.candidate)


def _targets(prefix: str, files: dict[str, bytes], name: str, document: Candidate) -> list[tuple[str, bytes]]:
    return [*((f"{prefix}/{file}", data) for file, data in files.items()), (f"{prefix}/{name}", document.to_json())]


def build_release(registry: ModelRegistry, model: str, version: int) -> BuiltRelease:
    """Read a version from MLflow and check approval, bytes, evaluation and gate before anything is signed.

    Raises:
        ApprovalError, ReleaseError: the version may not be released; the message says why.
    """
    if not registry.stamps_approvals():
        raise ReleaseError(
            "MLflow runs without `--app-name kizu-approval`, so that anybody could have written an approval there; "
            "start it with it, and approve again"
        )
    found, approval = require_approval(registry, model, version)
    checked = _checked(registry, found)
    if approval.model_sha256 != checked.model_sha256:
        raise ReleaseError(
            f"{model} version {version}: approved {approval.model_sha256}, but the model is {checked.model_sha256}"
        )
    return BuiltRelease(checked.candidate.approved(approval), checked.files, checked.use_case, checked.report)


def build_candidate(registry: ModelRegistry, model: str, version: int) -> BuiltCandidate:
    """Read a version from MLflow that need not be approved, and check bytes, evaluation and gate.

    Raises:
        ReleaseError: the version may not judge on a line, even beside a release; the message says why.
    """
    found = registry.version(model, version)
    if found.approval == "rejected":
        raise ReleaseError(f"{model} version {version} was rejected; approve it, or take another version")
    checked = _checked(registry, found)
    return BuiltCandidate(checked.candidate, checked.files, checked.use_case)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What a version holds, checked."""

    candidate: Candidate
    files: dict[str, bytes]
    use_case: UseCase
    report: EvaluationReport
    model_sha256: str


def _checked(registry: ModelRegistry, found: ModelVersion) -> _Checked:
    model, version = found.name, found.version
    onnx = registry.get_artifact(found.run_id, MODEL_FILE)
    report_bytes = registry.get_artifact(found.run_id, EVALUATION_REPORT)
    try:
        evidence = check_evidence(
            model,
            version,
            found.tags,
            onnx=onnx,
            report=report_bytes,
            use_case=registry.get_artifact(found.run_id, USE_CASE),
            latency=registry.find_artifact(found.run_id, LATENCY_REPORT),
        )
    except EvidenceError as e:
        raise ReleaseError(str(e)) from e
    report, use_case = evidence.report, evidence.use_case
    where = f"{model} version {version}"
    golden_bytes = registry.get_artifact(found.run_id, GOLDEN)
    if report.golden_sha256 and sha256_of(golden_bytes) != report.golden_sha256:
        raise ReleaseError(f"{where}: the golden samples are not those that were evaluated; evaluate it again")
    golden = GoldenSet.from_json(golden_bytes).samples
    files = {sample.file: registry.get_artifact(found.run_id, f"golden/{sample.file}") for sample in golden}
    for sample in golden:
        if sha256_of(files[sample.file]) != sample.sha256:
            raise ReleaseError(f"{where}: the golden sample {sample.file} has other bytes than were evaluated")
    models, model_files = _models(registry, found, report, onnx)
    files |= model_files
    candidate = Candidate(
        use_case=use_case.name,
        version=version,
        models=models,
        preprocess=report.preprocess,
        classes=report.classes,
        output=report.output,
        thresholds=report.thresholds,
        nms=report.nms,
        sampling=use_case.sampling.to_sampling(),
        latency_budget_ms=use_case.rollout.latency_budget_ms,
        probation_s=use_case.rollout.probation_s,
        probation=use_case.rollout.to_probation(),
        golden=golden,
        picture_limits=report.picture_limits,
        drift=report.drift,
        acceptance=report.acceptance,
        score_tables=report.score_tables,
        min_agent_version=MIN_AGENT_VERSION,
        dataset_digest=report.dataset_digest,
        training_run=found.run_id,
        evaluation_digest=sha256_of(report_bytes),
    )
    return _Checked(candidate, files, use_case, report, sha256_of(onnx))


def require_comparison(registry: ModelRegistry, built: BuiltRelease) -> None:
    """Require that the approved evaluation compares with the champion of now.

    Raises:
        ReleaseError: it was made beside another champion; the message says how to evaluate the version again.
    """
    model, version = built.release.use_case, built.release.version
    if stale := why_not(f"{model} version {version}", version, built.report, running_champion(registry, model)):
        raise ReleaseError(stale)


def _models(
    registry: ModelRegistry, found: ModelVersion, report: EvaluationReport, onnx: bytes
) -> tuple[tuple[ModelFile, ...], dict[str, bytes]]:
    """Return the fp32 model, and the int8 model if the evaluation kept one.

    The int8 model that is released has the bytes that were evaluated and registered. The report names its digest, and
    the approved version names the digest of the report.

    Raises:
        ReleaseError: the int8 models differ.
    """
    files = {"model.onnx": onnx}
    where, registered = f"{found.name} version {found.version}", found.tags.get(INT8_TAG, "")
    if registered != report.int8_sha256:
        raise ReleaseError(
            f"{where}: the int8 model {report.int8_sha256 or '(none)'} was evaluated, but {registered or '(none)'} is "
            "registered; evaluate and register it again"
        )
    if report.int8_sha256:
        files["model.int8.onnx"] = registry.get_artifact(found.run_id, INT8_MODEL_FILE)
        if sha256_of(files["model.int8.onnx"]) != report.int8_sha256:
            raise ReleaseError(
                f"{where}: the int8 model {report.int8_sha256} was evaluated, but it is "
                f"{sha256_of(files['model.int8.onnx'])}; train and register it again"
            )
    precisions = {"model.onnx": "fp32", "model.int8.onnx": "int8"}
    return tuple(
        ModelFile(precision=precisions[name], file=name, sha256=sha256_of(data), bytes=len(data))
        for name, data in files.items()
    ), files
