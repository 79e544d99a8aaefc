"""SIGTERM: a training that is asked to end stores a checkpoint after the epoch that runs, and ends then.

Kubernetes sends SIGTERM 30 seconds before it kills a pod; other supervisors give as much or less. An epoch that does
not end in that time is lost, and so the process ends before it is killed.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from components.training.trainer import TrainingError

_log = logging.getLogger(__name__)

GRACE_S: Final = 25.0
"""How long the epoch that runs may take after SIGTERM, in seconds."""


class TrainingStopped(TrainingError):
    """The training was asked to end. It goes on where it is started again."""


class StopRequest:
    """Whether this process was asked to end. Only the main thread can hear signals; elsewhere nothing is heard."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self.asked = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear SIGTERM while the block runs. A second SIGTERM ends the process at once, as without this.

        Raises:
            TrainingStopped: in the block, where nothing ended it within the grace period.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}

        def too_late(_number: int, _frame: FrameType | None) -> None:
            raise TrainingStopped(
                f"the training was asked to end (SIGTERM), and the epoch did not end within {self._grace_s:.0f} s; "
                "start it again, and it continues from its last checkpoint"
            )

        def asked(_number: int, _frame: FrameType | None) -> None:
            _log.warning("asked to end (SIGTERM): the training ends after this epoch, with a checkpoint")
            self.asked = True
            signal.signal(signal.SIGTERM, before[signal.SIGTERM] or signal.SIG_DFL)
            before[signal.SIGALRM] = signal.signal(signal.SIGALRM, too_late)
            signal.setitimer(signal.ITIMER_REAL, self._grace_s)

        signal.signal(signal.SIGTERM, asked)
        try:
            yield
        finally:
            if self.asked:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def end_if_asked(self, epoch: int) -> None:
        """End the training after an epoch whose checkpoint was stored.

        Raises:
            TrainingStopped: this process was asked to end.
        """
        if self.asked:
            raise TrainingStopped(
                f"the training was asked to end (SIGTERM) and ended after epoch {epoch}; start it again, and it goes on"
            )
