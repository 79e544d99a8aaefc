"""The champion: the version that was fully rolled out last, with what is needed to run it again."""

from __future__ import annotations

from dataclasses import dataclass

from components.stores.models.comparison import RunningChampion
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.registry import CHAMPION, EVALUATION_REPORT, MODEL_FILE, ModelRegistry, ModelVersion


@dataclass(frozen=True, slots=True)
class Champion:
    """A version, its ONNX bytes, and the report it was approved with."""

    version: ModelVersion
    onnx: bytes
    report: EvaluationReport


def champion(registry: ModelRegistry, model: str) -> Champion | None:
    """The champion of a model; None before the first rollout."""
    version = registry.by_alias(model, CHAMPION)
    if version is None:
        return None
    return Champion(
        version,
        registry.get_artifact(version.run_id, MODEL_FILE),
        EvaluationReport.from_json(registry.get_artifact(version.run_id, EVALUATION_REPORT)),
    )


def running_champion(registry: ModelRegistry, model: str) -> RunningChampion | None:
    """The champion's version and digest, without its artifacts; None before the first rollout."""
    version = registry.by_alias(model, CHAMPION)
    return RunningChampion(version.version, version.tags.get("model_sha256", "")) if version is not None else None


def champion_report(registry: ModelRegistry, model: str) -> EvaluationReport | None:
    """The champion's report, without the bytes of the model; None before the first rollout."""
    version = registry.by_alias(model, CHAMPION)
    if version is None:
        return None
    return EvaluationReport.from_json(registry.get_artifact(version.run_id, EVALUATION_REPORT))
