"""The port between the inspection loop and a camera."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from edge_agent.result import Result
from edge_agent.sources.trigger import Asked
from inspection.picture import PictureProblem


@dataclass(frozen=True, slots=True)
class Frame:
    """One image as the camera delivered it, not yet decoded, with its metadata.

    source_key: the camera's name for the frame. It is the same after a restart, and different for the next frame even
    where both have the same file name.
    data: the bytes of the image file.
    captured_at: timezone-aware.
    doubt: why the picture says nothing, where the camera itself knows it.
    asked: the trigger that asked for the frame; None where nobody asked.
    request_key: the sender's name for the request (idempotency key), where the frame was posted with one.
    problem: (fixed word, message) where the camera itself found the frame unusable.
    """

    source_key: str
    name: str
    data: bytes
    captured_at: datetime
    part_id: str | None = None
    problem: tuple[str, str] | None = None
    asked: Asked | None = None
    doubt: PictureProblem | None = None
    request_key: str | None = None


class FrameSource(Protocol):
    """A camera that delivers one frame after another, and is told what became of each."""

    name: str

    def next(self, timeout_s: float) -> Frame | None:
        """The next frame; None where none came within `timeout_s`.

        Raises:
            SourceError: the camera fails; it may work again later.
        """

    def done(self, frame: Frame, result: Result | None) -> None:
        """Put a frame away, so that it does not come again: its result is on disk.

        Args:
            result: None where it was recorded before a restart.

        Raises:
            SourceError: the frame cannot be put away.
        """

    def reject(self, frame: Frame, reason: str, message: str) -> bool:
        """Set an unusable frame aside.

        Args:
            reason: a fixed word.
            message: for people.

        Returns:
            False where the camera keeps the frame and delivers it again later.

        Raises:
            SourceError: the frame cannot be set aside.
        """

    def give_back(self, frame: Frame) -> None:
        """Take back a frame that was not recorded. It comes again, unless a newer one replaces it (mode `latest`)."""

    def holds(self, source_key: str) -> bool:
        """Whether a frame with this key may still come."""

    def take_skipped(self) -> int:
        """How many stale frames were dropped since the last call; always 0 in the mode `every`."""

    def close(self) -> None:
        """Release the camera; no frame is asked for afterwards."""


def readable_name(name: str) -> str:
    """A file name as valid UTF-8 text; other bytes become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
