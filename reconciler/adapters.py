"""The reconciler's ports over real servers."""

from __future__ import annotations

import logging

from components.stores.models.registry import CHAMPION, ModelRegistry

_log = logging.getLogger(__name__)


class MlflowChampions:
    """The alias in MLflow's registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def current(self, model: str) -> int | None:
        """The version that is champion."""
        found = self._registry.by_alias(model, CHAMPION)
        return found.version if found else None

    def move(self, model: str, version: int) -> None:
        """Make a version the champion."""
        self._registry.set_alias(self._registry.version(model, version), CHAMPION)
        _log.info("champion of %s is version %d", model, version)
