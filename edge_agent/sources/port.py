"""What the inspection loop asks of a camera."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from edge_agent.result import Result


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as it came, not yet decoded.

    source_key: the same for the same frame after a restart, another for the next frame, even of the same name.
    captured_at: timezone-aware. problem: (fixed word, message) where the camera itself found the frame unusable.
    """

    source_key: str
    name: str
    data: bytes
    captured_at: datetime
    part_id: str | None = None
    problem: tuple[str, str] | None = None


class FrameSource(Protocol):
    """A camera that gives one frame after another and waits for the answer."""

    name: str

    def next(self, timeout_s: float) -> Frame | None:
        """The next frame; None where none came within the time.

        Raises:
            SourceError: the camera is gone; it may come back.
        """

    def done(self, frame: Frame, result: Result | None) -> None:
        """The result is kept: put the frame away, so that it does not come again.

        Args:
            result: None where it was kept before a restart.

        Raises:
            SourceError: it cannot be put away.
        """

    def reject(self, frame: Frame, reason: str, message: str) -> bool:
        """Set an unusable frame aside. False where the camera would rather try it again later.

        Raises:
            SourceError: it cannot be set aside.
        """

    def give_back(self, frame: Frame) -> None:
        """The frame could not be recorded: it comes again, unless the camera has something newer to show."""

    def holds(self, source_key: str) -> bool:
        """Whether a frame with this key may still come."""

    def take_skipped(self) -> int:
        """How many stale frames were dropped since the last call; always 0 in the mode `every`."""

    def close(self) -> None:
        """Let the camera go; no frame is asked for afterwards."""
