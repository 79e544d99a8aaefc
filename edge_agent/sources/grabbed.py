"""Cameras that deliver pixels: each is read in a thread of its own, and opened again after a failure."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.backoff import Backoff
from edge_agent.errors import SourceError
from edge_agent.result import Result
from edge_agent.sources.port import Frame
from edge_agent.sources.trigger import Trigger, TriggerQueue

_log = logging.getLogger(__name__)

_AHEAD: Final = 2
"""How many frames are read before they are asked for in the mode `every`."""
_LOOK_S: Final = 0.2


class Grabber(Protocol):
    """The driver of a camera; one thread uses it."""

    def open(self) -> None:
        """Open the camera.

        Raises:
            SourceError: the camera cannot be opened.
        """

    def read(self) -> NDArray[np.uint8]:
        """The next picture, (h, w, 3) uint8 BGR. Waits for it, for a limited time.

        Raises:
            SourceError: the camera fails.
        """

    def close(self) -> None:
        """Release the camera; no error where it has failed."""


@dataclass(frozen=True, slots=True)
class _Picture:
    pixels: NDArray[np.uint8]
    at: datetime
    number: int
    part_id: str | None


class GrabbedSource:
    """`FrameSource` over a `Grabber`.

    The mode `latest` keeps the newest picture only, and counts those that it replaces. The mode `every` reads no faster
    than frames are asked for; a camera that does not wait then loses pictures in its own buffer, uncounted. With
    triggers, the first picture after each trigger is a frame, in either mode. Between triggers the camera is still
    read, so that no frame comes from an old buffer. A picture is encoded once; those bytes are inspected, kept and
    sent.
    """

    def __init__(
        self,
        name: str,
        grabber: Grabber,
        *,
        mode: Literal["every", "latest"],
        wake: threading.Event,
        triggers: TriggerQueue | None = None,
        encoding: Literal["jpeg", "png"] = "jpeg",
        jpeg_quality: int = 95,
        reconnect_limit_s: float = 30.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._grabber = grabber
        self._mode = mode
        self._wake = wake
        self._triggers = triggers
        self._extension = "jpg" if encoding == "jpeg" else "png"
        self._parameters = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if encoding == "jpeg" else []
        self._backoff = Backoff(first_s=0.5, limit_s=reconnect_limit_s)
        self._clock = clock
        self._born = time.time_ns()
        self._changed = threading.Condition()
        self._pictures: deque[_Picture] = deque()
        self._given_back: deque[Frame] = deque()
        self._number = 0
        self._skipped = 0
        self._problem = f"{name}: not opened yet"
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera-{name}", daemon=True)
        self._thread.start()

    def next(self, timeout_s: float) -> Frame | None:
        """See `FrameSource.next`."""
        with self._changed:
            if self._given_back:
                if self._mode == "every" or not self._pictures:
                    return self._given_back.popleft()
                self._skipped += len(self._given_back)
                self._given_back.clear()
            self._changed.wait_for(lambda: bool(self._pictures), timeout_s)
            picture = self._pictures.popleft() if self._pictures else None
            self._changed.notify_all()
            if picture is None and self._problem:
                raise SourceError(self._problem)
        return None if picture is None else self._frame(picture)

    def done(self, frame: Frame, result: Result | None) -> None:
        """See `FrameSource.done`. Nothing is to do: a picture does not come again."""

    def reject(self, frame: Frame, reason: str, message: str) -> bool:
        """See `FrameSource.reject`."""
        return True

    def give_back(self, frame: Frame) -> None:
        """See `FrameSource.give_back`."""
        with self._changed:
            if self._mode == "latest" and (self._pictures or self._given_back):
                self._skipped += 1
            else:
                self._given_back.append(frame)

    def holds(self, source_key: str) -> bool:
        """See `FrameSource.holds`."""
        return False

    def take_skipped(self) -> int:
        """See `FrameSource.take_skipped`."""
        with self._changed:
            skipped, self._skipped = self._skipped, 0
        return skipped + (self._triggers.take_lost() if self._triggers else 0)

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        if self._triggers is not None:
            self._triggers.arrived.set()
        self._thread.join(5.0)

    # -- the camera's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._grabber.open()
                while not self._closed.is_set():
                    self._grab()
            except SourceError as e:
                self._gone(str(e))
            except Exception as e:  # a driver may raise anything, and one camera must not end the agent
                _log.exception("camera %s", self.name)
                self._gone(f"{type(e).__name__}: {e}")
            finally:
                self._grabber.close()

    def _grab(self) -> None:
        if self._triggers is None and self._mode == "every":
            with self._changed:
                self._changed.wait_for(lambda: len(self._pictures) < _AHEAD or self._closed.is_set())
            if self._closed.is_set():
                return
        trigger = self._triggers.take() if self._triggers is not None else None
        pixels = self._grabber.read()
        if self._problem:
            if self._backoff.failures:
                _log.info("camera %s works again", self.name)
            self._problem = ""
            self._backoff.succeeded()
        if self._triggers is None or trigger is not None:
            self._keep(pixels, trigger or Trigger())

    def _keep(self, pixels: NDArray[np.uint8], trigger: Trigger) -> None:
        with self._changed:
            if self._mode == "latest":
                self._skipped += len(self._pictures)
                self._pictures.clear()
            self._number += 1
            self._pictures.append(_Picture(pixels, self._clock(), self._number, trigger.part_id))
            self._changed.notify_all()
        self._wake.set()

    def _gone(self, why: str) -> None:
        wait_s = self._backoff.failed()
        message = f"{self.name}: {why}"
        if self._backoff.failures == 1:
            _log.warning("camera %s; it is tried again", message)
        with self._changed:
            self._problem = message
            self._changed.notify_all()
        self._wake.set()
        self._closed.wait(wait_s)

    def _frame(self, picture: _Picture) -> Frame:
        name = f"{picture.at.strftime('%Y%m%dT%H%M%S.%fZ')}-{picture.number}.{self._extension}"
        key = f"{self._born}-{picture.number}"
        try:
            good, encoded = cv2.imencode(f".{self._extension}", picture.pixels, self._parameters)
        except cv2.error as e:
            good, why = False, f": {e}"
        else:
            why = ""
        if good:
            return Frame(key, name, encoded.tobytes(), picture.at, picture.part_id)
        problem = ("unreadable", f"a picture of shape {picture.pixels.shape} cannot be encoded{why}")
        return Frame(key, name, b"", picture.at, picture.part_id, problem)
