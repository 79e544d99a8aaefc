"""Adapters that implement the reconciler's ports with real servers."""

from __future__ import annotations

import logging

from components.stores.models.registry import CHAMPION, ROLLOUT_REASON_TAG, ROLLOUT_TAG, ModelRegistry

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


class MlflowRollouts:
    """Notes in MLflow's registry how the rollout of a version ended: the tags `rollout` and `rollout_reason`."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._known: dict[tuple[str, int], str] = {}

    def rollout_of(self, model: str, version: int) -> str:
        """Return `failed` or `done`; '' where no rollout has ended. What was read once is not read again."""
        if (model, version) not in self._known:
            self._known[model, version] = self._registry.version(model, version).tags.get(ROLLOUT_TAG, "")
        return self._known[model, version]

    def note_rollout(self, model: str, version: int, how: str, reason: str) -> None:
        """Note how the rollout of a version ended, and why. The reason comes first: who reads the end finds it."""
        found = self._registry.version(model, version)
        self._registry.set_tag(found, ROLLOUT_REASON_TAG, reason)
        self._registry.set_tag(found, ROLLOUT_TAG, how)
        self._known[model, version] = how
        _log.info("the rollout of %s version %d is noted as %s", model, version, how)
