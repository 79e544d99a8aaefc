"""Answers each part once, in a thread of its own: when its pictures are all there, or when its time is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from edge_agent.errors import EdgeError
from edge_agent.outbox import Outbox

_log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_PROBLEM_WAIT_S: Final = 1.0


class PartAnswers:
    """Answers the parts that are due.

    Args:
        publish: whether answers go to a broker.
        now: the time of day, UTC.
    """

    def __init__(
        self, outbox: Outbox, *, device: str, publish: bool, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._outbox = outbox
        self._device = device
        self._publish = publish
        self._now = now
        self._problem = ""

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop` is set. A part that is open then is answered after the next start."""
        while not stop.is_set():
            try:
                self.answer()
                left = self._outbox.next_part_s()
                self._problem = ""
            except EdgeError as e:
                if self._problem != str(e):
                    _log.error("parts wait for their answer: %s", e)
                self._problem = str(e)
                stop.wait(_PROBLEM_WAIT_S)
                continue
            # At least a moment: while the disk cannot be written, a part stays due.
            self._outbox.part_waits.wait(_LOOK_S if left is None else min(_LOOK_S, max(0.02, left)))
            self._outbox.part_waits.clear()

    def answer(self) -> int:
        """Answer what is due now; how many parts that were.

        Raises:
            StateError: the index is damaged.
        """
        answers = self._outbox.answer_parts(self._device, self._now(), publish=self._publish)
        for answer in answers:
            if answer.missing:
                _log.warning(
                    "part %s: no judged picture of %s (%s)", answer.part_id, ", ".join(answer.missing), answer.end
                )
        return len(answers)
