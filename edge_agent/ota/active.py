"""The release that inspects now, and who the device is to the fleet."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.inference import LoadedRelease


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is to the fleet."""

    device: str
    group: str
    use_case: str


class Active:
    """The release that inspects now. The loop takes it anew for each frame, so a swap falls between two frames."""

    def __init__(self) -> None:
        self._release: LoadedRelease | None = None
        self.previous: LoadedRelease | None = None
        """The release before, loaded only where policy wants the two compared."""

    def get(self) -> LoadedRelease | None:
        """None before the first release."""
        return self._release

    def set(self, release: LoadedRelease | None) -> None:
        """One assignment, atomic in Python."""
        self._release = release
