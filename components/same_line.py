"""The same line of a log at most once a minute, where something fails again and again for one reason."""

from __future__ import annotations

from typing import Final

SAY_AGAIN_S: Final = 60.0


class SameLine:
    """Knows which reason was written last, and when. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._said: tuple[str, float] | None = None

    @property
    def was_said(self) -> bool:
        """Whether a line was written since the last `forget`."""
        return self._said is not None

    def is_due(self, reason: str, at: float) -> bool:
        """Whether to write the line now: the first one, one with another reason, or one after a minute.

        A line that is due counts as written.
        """
        if self._said is not None and self._said[0] == reason and at - self._said[1] < SAY_AGAIN_S:
            return False
        self._said = (reason, at)
        return True

    def forget(self) -> None:
        """It works again: the next line is the first one."""
        self._said = None
