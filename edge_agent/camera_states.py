"""How each camera of the device is: whether frames come, why not, and when the latest one was judged."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from edge_agent.result import Result
from inspection import CameraState

_LONGEST: Final = 300
"""Characters of a reason in the device report."""


class CameraStates:
    """The cameras by name. The inspection loop tells what it meets. Safe to share between threads."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._unable: dict[str, tuple[str, str]] = {}
        self._latest: dict[str, datetime | None] = dict.fromkeys(names)

    def fails(self, camera: str, why: str) -> bool:
        """Note that a camera gives no frames; whether that is news."""
        with self._lock:
            self._latest.setdefault(camera, None)
            news = self._problems.get(camera) != why
            self._problems[camera] = why
        return news

    def works(self, camera: str) -> None:
        """Note that a camera answers."""
        if camera in self._problems:
            with self._lock:
                self._problems.pop(camera, None)

    def cannot_put_away(self, camera: str, frame: str, why: str) -> bool:
        """Note that a camera could not put a frame away, and goes on with others; whether that is news.

        frame: its source key.
        """
        with self._lock:
            news = camera not in self._unable
            self._unable[camera] = (frame, why)
        return news

    def put_away(self, camera: str, frame: str) -> None:
        """Note that a camera has put a frame away."""
        if camera in self._unable:
            with self._lock:
                if self._unable[camera][0] == frame:
                    del self._unable[camera]

    def see(self, result: Result) -> None:
        """Note the time at which a frame was judged."""
        if result.infer_ms is not None:
            with self._lock:
                self._latest[result.camera] = result.decided_at

    def problem(self) -> str:
        """What the cameras that fail say, as one line; empty where all is well."""
        with self._lock:
            return "; ".join((*self._problems.values(), *dict.fromkeys(why for _, why in self._unable.values())))

    def all(self) -> dict[str, CameraState]:
        """The state of each camera."""
        with self._lock:
            return {
                name: CameraState(
                    ok=name not in self._problems, reason=self._problems.get(name, "")[:_LONGEST], last_frame_at=latest
                )
                for name, latest in self._latest.items()
            }
