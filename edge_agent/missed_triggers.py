"""Tells the line of each trigger that got no verdict, in a thread of its own: the loop may be busy at the deadline."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from edge_agent.errors import EdgeError
from edge_agent.ota.active import Active
from edge_agent.outbox import Outbox
from edge_agent.recent_frames import RecentFrames
from edge_agent.result import Result
from edge_agent.sources.trigger import Missed, TriggerQueue
from inspection.verdict import NoVerdict, Verdict

_log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_PROBLEM_WAIT_S: Final = 1.0


class MissedTriggers:
    """Records a result `not-inspected` for each missed trigger.

    Args:
        queues: by the name of their camera; they share a clock.
        active: without a release, a deadline that passes has that reason.
        publish: whether results go to a broker.
        changed: set when a deadline may have come nearer, or a trigger was missed.
        clock: that of the queues.
        measure: called with each result that was recorded.
    """

    def __init__(
        self,
        queues: Mapping[str, TriggerQueue],
        outbox: Outbox,
        active: Active,
        recent: RecentFrames,
        *,
        device: str,
        publish: bool,
        changed: threading.Event,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        measure: Callable[[Result], None] = lambda _: None,
    ) -> None:
        self._queues = dict(queues)
        self._outbox = outbox
        self._active = active
        self._recent = recent
        self._device = device
        self._publish = publish
        self._changed = changed
        self._clock = clock
        self._now = now
        self._measure = measure
        self._problem = ""

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set."""
        while not stop.is_set():
            self._changed.wait(self._until_the_next_deadline())
            self._changed.clear()
            try:
                self.record()
                self._problem = ""
            except EdgeError as e:
                if self._problem != str(e):
                    _log.error("triggers without a verdict wait: %s", e)
                self._problem = str(e)
                stop.wait(_PROBLEM_WAIT_S)

    def end(self) -> None:
        """Record all triggers that are still open; the agent stops."""
        for queue in self._queues.values():
            queue.miss_all(NoVerdict.STOPPING)
        try:
            self.record()
        except EdgeError as e:
            _log.error("triggers without a verdict are lost: %s", e)

    def record(self) -> int:
        """Record what was missed up to now; how many triggers that were.

        Raises:
            StateError: the disk is full; the rest is recorded by the next call.
        """
        number = 0
        for camera, queue in self._queues.items():
            missed = list(queue.take_missed())
            while missed:
                result = self._result(camera, missed[0])
                try:
                    self._outbox.record_missed(result, publish=self._publish)
                except BaseException:
                    queue.put_back(missed)
                    raise
                _log.warning("%s: part %s was not inspected: %s", camera, result.part_id or "unknown", result.reason)
                self._recent.add(result, b"")
                self._measure(result)
                del missed[0]
                number += 1
        return number

    def _result(self, camera: str, missed: Missed) -> Result:
        trigger, reason, running = missed.trigger, missed.reason, self._active.get()
        if running is None and reason is NoVerdict.DEADLINE:
            reason = NoVerdict.NO_RELEASE
        text = "\n".join((self._device, camera, "trigger", trigger.key))
        return Result(
            capture_id=hashlib.sha256(text.encode()).hexdigest()[:32],
            sha256=None,
            captured_at=trigger.asked_at,
            decided_at=self._now(),
            device=self._device,
            camera=camera,
            part_id=trigger.part_id,
            trigger_id=trigger.id,
            release_digest=running.digest if running is not None else None,
            model_sha256=running.model.sha256 if running is not None else None,
            verdict=Verdict.NOT_INSPECTED,
            reason=reason,
            infer_ms=None,
        )

    def _until_the_next_deadline(self) -> float:
        deadlines = [due for queue in self._queues.values() if (due := queue.next_deadline()) is not None]
        # A moment more: the queue takes a trigger for missed only once its deadline has passed.
        return min([_LOOK_S, *(max(0.0, due - self._clock()) + 0.001 for due in deadlines)])
