"""What MLflow knows of a product's models, in a few short answers, however many versions there are."""

from __future__ import annotations

from typing import Final

from components.stores.models.registry import (
    ROLLOUT_REASON_TAG,
    ROLLOUT_TAG,
    ModelRegistry,
    ModelRegistryError,
    ModelVersion,
)
from reconciler.rollout_pass import FAILED
from reconciler.seeing import CannotSee
from reconciler.view import SeenRun, SeenVersion

_NEWEST: Final = 20
"""Of so many approved versions one is looked for that may be deployed."""


class MlflowModels:
    """The port `reconciler.seeing.Models` over MLflow's registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def approved(self, model: str) -> tuple[SeenVersion, ...]:
        """The newest approved versions, newest first."""
        return tuple(_seen(version) for version in self._newest(model, {"approval": "approved"}, _NEWEST))

    def pending(self, model: str) -> SeenVersion | None:
        """The newest version that passed its gate and waits for approval."""
        found = self._newest(model, {"approval": "pending", "gate": "passed"}, 1)
        return _seen(found[0]) if found else None

    def last_run(self, model: str) -> SeenRun | None:
        """The training run that finished last."""
        try:
            run = self._registry.newest_run(model, {"use_case": model})
        except ModelRegistryError as e:
            raise CannotSee(str(e)) from e
        if run is None:
            return None
        return SeenRun(run.run_id, run.experiment_id, {"passed": True, "failed": False}.get(run.tags.get("gate", "")))

    def _newest(self, model: str, tags: dict[str, str], at_most: int) -> list[ModelVersion]:
        try:
            return self._registry.newest_versions(model, tags, at_most)
        except ModelRegistryError as e:
            raise CannotSee(str(e)) from e


def _seen(version: ModelVersion) -> SeenVersion:
    tags = version.tags
    failed = tags.get(ROLLOUT_TAG) == FAILED
    return SeenVersion(
        version=version.version,
        run_id=version.run_id,
        approved_by=tags.get("approval_by", ""),
        failed_rollout=(tags.get(ROLLOUT_REASON_TAG) or "no reason is given") if failed else "",
    )
