"""Adapters that implement the reconciler's ports with real servers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from components.stores.models.registry import CHAMPION, ROLLOUT_REASON_TAG, ROLLOUT_TAG, ModelRegistry
from reconciler.decisions import Decision, DecisionLog
from reconciler.rules import Champions, Publisher
from reconciler.view import Act

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
    """Notes in MLflow's registry how the rollout of a version ended: the tags `rollout` and `rollout_reason`.

    It remembers what it read. Call `forget` where another process may have noted an end since.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._known: dict[tuple[str, int], str] = {}

    def forget(self) -> None:
        """Read again at the next question how a rollout ended: another process may have noted it since."""
        self._known.clear()

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


class NotedChampions:
    """Champions whose moves are written as decisions. published: says under which sequence a group runs a version.

    A move leaves nothing but the alias, so it is announced before. Whoever is killed between the move and its decision
    loses none: `finish_moves` writes it.
    """

    def __init__(
        self, champions: Champions, published: Publisher, decisions: DecisionLog, clock: Callable[[], datetime]
    ) -> None:
        self._champions = champions
        self._published = published
        self._decisions = decisions
        self._clock = clock

    def current(self, model: str) -> int | None:
        """Return the version that has the alias; None if no version has it."""
        return self._champions.current(model)

    def move(self, model: str, version: int) -> None:
        """Give the alias to a version, and write why."""
        former = self._champions.current(model)
        states = [self._published.desired(*name) for name in self._published.desired_names() if name[0] == model]
        sequence = max((state.sequence for state in states if state is not None), default=0)
        decision = Decision(
            use_case=model,
            act=Act.MOVE_CHAMPION,
            subject=f"version {version}, sequence {sequence}",
            why=f"a whole group runs version {version}",
            at=self._clock(),
            facts={"version": version, "former": former, "sequence": sequence},
        )
        self._decisions.announce(decision)
        self._champions.move(model, version)
        self._finish(decision)

    def finish_moves(self) -> None:
        """Write the decision of each announced move that was done; an announced move that was not is forgotten.

        Raises:
            ObjectStoreError, ModelRegistryError: a server did not answer; the next pass does it.
        """
        for model in sorted({name for name, _ in self._published.desired_names()}):
            announced = self._decisions.announced(model, Act.MOVE_CHAMPION)
            if announced is None:
                continue
            if self._champions.current(model) == announced.facts.get("version"):
                self._finish(announced)
            else:
                self._decisions.withdraw(model, Act.MOVE_CHAMPION)

    def _finish(self, decision: Decision) -> None:
        self._decisions.write(decision)
        self._decisions.withdraw(decision.use_case, decision.act)
