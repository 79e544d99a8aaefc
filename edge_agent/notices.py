"""What a device must say though it inspects: damaged files, a clock that is behind, a release kept without frames."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from edge_agent.result import Result

_EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""No clock of a running agent, and no picture, is older."""


class CameraClocks:
    """The cameras whose pictures are dated before any that can be new. Safe to share between threads.

    Such a picture is inspected as any other, but stored under its date, where nobody looks for new pictures.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._behind: dict[str, datetime] = {}

    def see(self, result: Result) -> None:
        """Look at the time of one picture."""
        with self._lock:
            if result.captured_at < _EARLIEST:
                self._behind[result.camera] = result.captured_at
            else:
                self._behind.pop(result.camera, None)

    def behind(self) -> dict[str, datetime]:
        """The time of the latest picture of each camera that is behind."""
        with self._lock:
            return dict(self._behind)


def notices(
    *,
    now: datetime,
    approved_at: datetime | None,
    cameras_behind: dict[str, datetime],
    damaged: int,
    set_aside: Sequence[str],
    note: str,
    not_tightened: Sequence[str] = (),
) -> tuple[str, ...]:
    """Each notice: a fixed word, a colon and a message.

    Args:
        now: of the device's clock, UTC.
        approved_at: when the running release was approved, signed; a right clock is past it.
        damaged: how many state files were ever set aside; set_aside: the names of those that are kept.
        note: on how the running release was kept.
        not_tightened: what the device's file asks of the acceptance rules and does not get.
    """
    found = []
    earliest = max(_EARLIEST, approved_at) if approved_at is not None else _EARLIEST
    if now < earliest:
        found.append(
            f"clock-behind: the clock says {now:%Y-%m-%d %H:%M} UTC, which is before {earliest:%Y-%m-%d}; set it"
        )
    for camera, at in sorted(cameras_behind.items()):
        found.append(f"camera-clock-behind: pictures of {camera} are dated {at:%Y-%m-%d}; set the camera's clock")
    if damaged:
        kept = ", ".join(set_aside) or "none is kept"
        found.append(f"state-damaged: {damaged} state files were damaged and set aside ({kept}); check the disk")
    if note:
        found.append(note)
    found += [f"not-tightened: {text}" for text in not_tightened]
    return tuple(found)
