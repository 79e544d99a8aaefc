"""Register the model of a run, with its lineage, for a person to approve."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from components.registry.model_card import ModelOrigin, model_card, shortened
from components.stores.datasets.manifest import manifest_key
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.gate import GateReport
from components.stores.models.latency_report import LatencyReport
from components.stores.models.registry import (
    CANDIDATE,
    EVALUATION_REPORT,
    GATE_REPORT,
    INT8_MODEL_FILE,
    INT8_TAG,
    LATENCY_REPORT,
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
    found = _evaluated(registry, run_id, use_case, label_version, pipeline_run, datasets)
    if not found.gate.passed:
        raise RegistrationError(f"run {run_id} did not pass its gate and is not registered: {found.gate.failures}")
    known = next((v for v in registry.versions(use_case.name) if v.run_id == run_id), None)
    if known is None:
        registry.put_artifact(run_id, MODEL_CARD, found.card)
    version = registry.create_version(use_case.name, run_id, found.tags, found.description)
    if known is not None:
        version = _up_to_date(registry, version, found)
    registry.set_alias(version, CANDIDATE)
    _log.info(
        "registered %s version %d, waiting for approval: read its model card in MLflow, then set its tag approval, or "
        "run: kizu approve %d --model %s", version.name, version.version, version.version, version.name,
    )  # fmt: skip
    return version


def renew(
    registry: ModelRegistry, version: ModelVersion, use_case: UseCase, *, report_digest: str, datasets: str = ""
) -> GateReport:
    """Bring a registered version up to date with the evaluation that its run has now, and return the gate.

    A version that was evaluated anew becomes pending, whatever was decided: the decision rested on the former report.
    If it does not pass its gate any more, its tag `gate` says so and nobody can approve it. A latency that was measured
    again alone takes no decision back: MLflow's server and the signer judge the latest.

    Args:
        report_digest: of the evaluation report that the run has to have.
        datasets: the bucket of the manifests, for the model card.

    Raises:
        RegistrationError: the run has another report, the gate judged another model, or a model's bytes are not those
            that were evaluated.
    """
    label_version = int(version.tags.get("label_version", "-1"))
    pipeline_run = version.tags.get("pipeline_run", "")
    found = _evaluated(registry, version.run_id, use_case, label_version, pipeline_run, datasets)
    if found.tags["evaluation_digest"] != report_digest:
        raise RegistrationError(
            f"run {version.run_id}: expected the evaluation report {report_digest}, found "
            f"{found.tags['evaluation_digest']}; run it again, and not twice at once"
        )
    now = _up_to_date(registry, version, found)
    _log.info(
        "%s version %d: gate %s, approval %s", now.name, now.version, now.tags.get("gate", ""), now.approval or "none"
    )
    return found.gate


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """What a run's evaluation means for its version. description: the card, cut to MLflow's column."""

    gate: GateReport
    tags: Mapping[str, str]
    int8_sha256: str
    description: str
    card: bytes


def _evaluated(
    registry: ModelRegistry, run_id: str, use_case: UseCase, label_version: int, pipeline_run: str, datasets: str
) -> _Evaluated:
    evaluated = registry.get_artifact(run_id, EVALUATION_REPORT)
    report = EvaluationReport.from_json(evaluated)
    gate = GateReport.from_json(registry.get_artifact(run_id, GATE_REPORT))
    timed = registry.find_artifact(run_id, LATENCY_REPORT)
    latency = LatencyReport.from_json(timed) if timed is not None else None
    if gate.model_sha256 != report.model_sha256:
        raise RegistrationError(
            f"run {run_id}: {report.model_sha256} was evaluated, but the gate judged {gate.model_sha256}; "
            "evaluate it again"
        )
    run_tags = registry.run(run_id).tags
    tags = {
        "approval": "pending",
        "gate": "passed" if gate.passed else "failed",
        "dataset_digest": report.dataset_digest,
        "code_digest": run_tags.get("code_digest", ""),
        "model_sha256": _checked(registry, run_id, MODEL_FILE, report.model_sha256),
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
    return _Evaluated(
        gate,
        tags,
        report.int8_sha256,
        shortened(report, gate, use_case, origin, latency),
        model_card(report, gate, use_case, origin, latency).encode(),
    )


def _up_to_date(registry: ModelRegistry, version: ModelVersion, found: _Evaluated) -> ModelVersion:
    """Give a known version the tags and the card of an evaluation. Returns the version as it is then."""
    registry.put_artifact(version.run_id, MODEL_CARD, found.card)
    registry.set_description(version, found.description)
    if any(version.tags.get(key) != found.tags[key] for key in ("evaluation_digest", "use_case_digest")):
        # `approval` is set first: while a version is approved, what the approval rests on must not change.
        for key, value in {**found.tags, INT8_TAG: found.int8_sha256}.items():
            if value or key in version.tags:
                registry.set_tag(version, key, value)
    elif found.gate.passed and version.tags.get("gate") != "passed":
        registry.set_tag(version, "gate", "passed")  # the latency was too high, and was measured again
    return registry.version(version.name, version.version)


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
