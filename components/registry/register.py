"""Register the model of a run, with its lineage, for a person to approve."""

from __future__ import annotations

import json
import logging

from components.registry.model_card import ModelOrigin, model_card, shortened
from components.stores.datasets.manifest import manifest_key
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.gate import GateReport
from components.stores.models.registry import (
    CANDIDATE,
    EVALUATION_REPORT,
    GATE_REPORT,
    INT8_MODEL_FILE,
    INT8_TAG,
    MODEL_CARD,
    MODEL_FILE,
    REPORT_PAGE,
    TRAINING_RECORD,
    ModelRegistry,
    ModelVersion,
    NoSuchModel,
)
from components.use_case import UseCase
from inspection.image import sha256_of

_log = logging.getLogger(__name__)


class RegistrationError(ValueError):
    """A run may not be registered; the message says why."""


def register(
    registry: ModelRegistry,
    run_id: str,
    use_case: UseCase,
    label_version: int,
    *,
    pipeline_run: str = "",
    datasets: str = "",
) -> ModelVersion:
    """Register a run's model as a version with `approval=pending`, `gate=passed`, digests and the alias `candidate`.

    The gate is not judged here: the run's stored gate document says whether the run passed. A run that is registered
    already keeps its version; if it was evaluated again since, the version becomes pending again.

    Args:
        pipeline_run: the id of the pipeline's run, for tags and model card.
        datasets: the bucket of the manifests, for the model card.

    Raises:
        RegistrationError: the run did not pass its gate, the gate judged another model, or a model's bytes are not
            those that were evaluated.
        NoSuchModel: the run was not evaluated.
    """
    evaluated = registry.get_artifact(run_id, EVALUATION_REPORT)
    report = EvaluationReport.from_json(evaluated)
    gate = GateReport.from_json(registry.get_artifact(run_id, GATE_REPORT))
    if gate.model_sha256 != report.model_sha256:
        raise RegistrationError(
            f"run {run_id}: {report.model_sha256} was evaluated, but the gate judged {gate.model_sha256}; "
            "evaluate it again"
        )
    if not gate.passed:
        raise RegistrationError(f"run {run_id} did not pass its gate and is not registered: {gate.failures}")
    model_sha256 = _checked(registry, run_id, MODEL_FILE, report.model_sha256)
    run_tags = registry.run(run_id).tags
    tags = {
        "approval": "pending",
        "gate": "passed",
        "dataset_digest": report.dataset_digest,
        "code_digest": run_tags.get("code_digest", ""),
        "model_sha256": model_sha256,
        "evaluation_digest": sha256_of(evaluated),
        "use_case_digest": use_case.digest,
        "label_version": str(label_version),
    }
    if report.int8_sha256:
        tags[INT8_TAG] = _checked(registry, run_id, INT8_MODEL_FILE, report.int8_sha256)
    told = {name: run_tags.get(name, "") for name in ("code_revision", "base_weights_sha256")}
    told["pipeline_run"] = pipeline_run
    tags |= {key: value for key, value in told.items() if value}
    origin = ModelOrigin(
        run_id=run_id,
        label_version=label_version,
        code_digest=tags["code_digest"],
        manifest_uri=f"s3://{datasets}/{manifest_key(report.dataset_digest)}" if datasets else "",
        packages=_packages(registry, run_id),
        pages=registry.has_artifact(run_id, REPORT_PAGE),
        **told,
    )
    description = shortened(report, gate, use_case, origin)
    known = next((v for v in registry.versions(use_case.name) if v.run_id == run_id), None)
    if known is None or _evaluated_anew(known, tags):
        registry.put_artifact(run_id, MODEL_CARD, model_card(report, gate, use_case, origin).encode())
    version = registry.create_version(use_case.name, run_id, tags, description)
    if _evaluated_anew(version, tags):
        # The run was evaluated again under another policy, and a person approved the earlier report.
        registry.set_description(version, description)
        # `approval` is set first: while a version is approved, what the approval rests on must not change.
        for key, value in {**tags, INT8_TAG: report.int8_sha256}.items():
            if value or key in version.tags:
                registry.set_tag(version, key, value)
        version = registry.version(version.name, version.version)
    registry.set_alias(version, CANDIDATE)
    _log.info(
        "registered %s version %d, waiting for approval: read its model card in MLflow, then set its tag approval, or "
        "run: kizu approve %d --model %s", version.name, version.version, version.version, version.name,
    )  # fmt: skip
    return version


def _evaluated_anew(version: ModelVersion, tags: dict[str, str]) -> bool:
    return any(version.tags.get(key) != tags[key] for key in ("evaluation_digest", "use_case_digest"))


def _checked(registry: ModelRegistry, run_id: str, path: str, evaluated: str) -> str:
    found = sha256_of(registry.get_artifact(run_id, path))
    if found != evaluated:
        raise RegistrationError(f"run {run_id}: {evaluated} was evaluated, but the model is {found}; train it again")
    return found


def _packages(registry: ModelRegistry, run_id: str) -> dict[str, str]:
    """The main packages that trained the model; the run's artifact `model/packages.txt` has all of them."""
    try:
        record = json.loads(registry.get_artifact(run_id, TRAINING_RECORD))
    except NoSuchModel:
        return {}
    return {str(name): str(version) for name, version in record.get("versions", {}).items()}
