"""Adapters that implement the reconciler's ports with real servers."""

from __future__ import annotations

import logging

from components.stores.models.registry import CHAMPION, ModelRegistry

_log = logging.getLogger(__name__)


class MlflowChampions:
    """Reads and moves the alias `champion` in MLflow's registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def current(self, model: str) -> int | None:
        """Return the version that has the alias; None if no version has it."""
        found = self._registry.by_alias(model, CHAMPION)
        return found.version if found else None

    def move(self, model: str, version: int) -> None:
        """Give the alias to a version; the version that had it before loses it."""
        self._registry.set_alias(self._registry.version(model, version), CHAMPION)
        _log.info("champion of %s is version %d", model, version)
