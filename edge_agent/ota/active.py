"""The release that inspects now, and the identity of the device in the fleet."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.inference import LoadedRelease


@dataclass(frozen=True, slots=True)
class Identity:
    """The name of this device, its group, and the use case that it inspects."""

    device: str
    group: str
    use_case: str


class Active:
    """Holds the release that inspects now. The loop reads it for each frame, so a swap falls between two frames."""

    def __init__(self) -> None:
        self._release: LoadedRelease | None = None
        self.previous: LoadedRelease | None = None
        """The previous release; loaded only where the sampling policy compares the two."""

    def get(self) -> LoadedRelease | None:
        """The release that inspects; None before the first one."""
        return self._release

    def set(self, release: LoadedRelease | None) -> None:
        """Swap the release: one assignment, which is atomic in Python."""
        self._release = release
