"""The stand-in for the person who approves: it approves each version that waits, with its own account and a reason."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from components.stores.models.registry import ModelRegistry, ModelRegistryError
from deploy.local.runs import RunFailed

_log = logging.getLogger(__name__)
_AFTER_REFUSAL_S: Final = 5.0


class Approver:
    """Works in a thread until it is stopped. If MLflow does not answer, it waits and tries again.

    Args:
        approve: approves a version with a reason; raises RunFailed where the server refuses.
        reason: what it says of a version; while it is '', it approves nothing.
        finished: called after each approval.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        model: str,
        approve: Callable[[int, str], None],
        reason: Callable[[], str],
        finished: Callable[[], None],
        *,
        pause_s: float = 2.0,
    ) -> None:
        self._registry = registry
        self._model = model
        self._approve = approve
        self._reason = reason
        self._finished = finished
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stand-in approver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def work_once(self) -> int:
        """Approve what waits. Returns how many versions it approved."""
        reason = self._reason()
        if not reason:
            return 0
        waiting = self._registry.newest_versions(self._model, {"approval": "pending", "gate": "passed"}, 1)
        for version in waiting:
            self._approve(version.version, reason)
            self._finished()
        return len(waiting)

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            try:
                self.work_once()
            except (ModelRegistryError, RunFailed) as e:
                _log.warning("the stand-in approver waits: %s", e)
                self._stop.wait(_AFTER_REFUSAL_S)
