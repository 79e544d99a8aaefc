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
from edge_agent.errors import SourceEnded, SourceError
from edge_agent.memory_budget import MemoryBudget
from edge_agent.result import Result
from edge_agent.sources.port import Frame
from edge_agent.sources.trigger import Asked, Trigger, TriggerQueue
from inspection.picture import PictureProblem
from inspection.verdict import NoVerdict

_log = logging.getLogger(__name__)

_AHEAD: Final = 2
"""How many frames are read before they are asked for in the mode `every`."""
_ROOM_S: Final = 0.5


class Grabber(Protocol):
    """The driver of a camera; one thread uses it.

    A driver whose camera takes each picture at a signal of its own (a hardware trigger) has a true attribute
    `waits_for_signal` once it is open.
    """

    def open(self) -> None:
        """Open the camera.

        Raises:
            SourceError: the camera cannot be opened.
        """

    def read(self) -> NDArray[np.uint8] | None:
        """The next picture, (h, w, 3) uint8 BGR. Waits for it, for a limited time.

        Returns:
            None where no picture came and the camera is well: a signal at its input asks for each picture.

        Raises:
            SourceError: the camera fails.
        """

    def close(self) -> None:
        """Release the camera; no error where it has failed."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """pixels: None for a picture that is too large to be inspected. size: bytes that it holds of the budget."""

    pixels: NDArray[np.uint8] | None
    at: datetime
    number: int
    trigger: Trigger | None
    size: int
    problem: tuple[str, str] | None = None


class GrabbedSource:
    """`FrameSource` over a `Grabber`.

    The mode `latest` keeps the newest picture only, and counts those that it replaces. The mode `every` reads no faster
    than frames are asked for; a camera that does not wait then loses pictures in its own buffer, uncounted. With
    triggers, the first picture after each trigger is a frame, and none replaces another; a picture that comes after the
    deadline of its trigger is none. Between triggers the camera is still read, so that no frame comes from an old
    buffer. A picture is encoded once; those bytes are inspected, kept and sent.

    A picture holds room of the budget until its frame is put away. Where there is none, the trigger of the picture is
    missed; without triggers, the mode `latest` counts the picture as skipped, and the mode `every` waits.

    Args:
        budget: the memory that images may take; by default more than any camera needs.
        frozen_after: from this many frames in a row with the same pixels on, a frame is doubted as frozen: the noise of
            a sensor makes any two pictures differ. None for never.
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
        frozen_after: int | None = None,
        budget: MemoryBudget | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._budget = budget or MemoryBudget(1 << 40)
        self._grabber = grabber
        self._mode = mode if triggers is None else "every"
        self._wake = wake
        self._triggers = triggers
        self._extension = "jpg" if encoding == "jpeg" else "png"
        self._parameters = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if encoding == "jpeg" else []
        self._backoff = Backoff(first_s=0.5, limit_s=reconnect_limit_s)
        self._frozen_after = frozen_after
        self._last: NDArray[np.uint8] | None = None
        self._same = 0
        self._clock = clock
        self._born = time.time_ns()
        self._changed = threading.Condition()
        self._pictures: deque[_Picture] = deque()
        self._given_back: deque[Frame] = deque()
        self._in_hand: dict[str, int] = {}
        """By source key, the bytes of the budget that a delivered frame holds."""
        self._number = 0
        self._skipped = 0
        self._problem = f"{name}: not opened yet"
        self._closed = threading.Event()
        if triggers is not None:
            triggers.lost = True  # until the first picture comes
        self._thread = threading.Thread(target=self._run, name=f"camera-{name}", daemon=True)
        self._thread.start()

    def next(self, timeout_s: float) -> Frame | None:
        """See `FrameSource.next`."""
        with self._changed:
            self._let_go_of_all_but_given_back()
            if self._given_back:
                if self._mode == "every" or not self._pictures:
                    return self._given_back.popleft()
                self._skipped += len(self._given_back)
                self._given_back.clear()
                self._let_go_of_all_but_given_back()
            self._changed.wait_for(lambda: bool(self._pictures), timeout_s)
            picture = self._first_that_is_wanted()
            self._changed.notify_all()
            if picture is None and self._problem:
                raise SourceError(self._problem)
        if picture is None:
            return None
        frame = self._frame(picture)
        self._in_hand[frame.source_key] = len(frame.data)
        if not self._budget.exchange(picture.size, len(frame.data)):
            # An encoded picture that is larger than its pixels; it goes on, and counts as what it held before.
            self._in_hand[frame.source_key] = picture.size
        return frame

    def _let_go_of_all_but_given_back(self) -> None:
        """Give back the room of frames that were settled, also of those whose end this camera was not told."""
        kept = {frame.source_key for frame in self._given_back}
        for key in [key for key in self._in_hand if key not in kept]:
            self._let_go(key)

    def _let_go(self, source_key: str) -> None:
        self._budget.give_back(self._in_hand.pop(source_key, 0))

    def _first_that_is_wanted(self) -> _Picture | None:
        self._drop_what_came_too_late()
        return self._pictures.popleft() if self._pictures else None

    def _drop_what_came_too_late(self) -> None:
        """Drop pictures whose trigger is settled, so that they do not pile up while nobody inspects."""
        triggers = self._triggers
        if triggers is not None:
            wanted: deque[_Picture] = deque()
            for picture in self._pictures:
                if picture.trigger is None or triggers.is_open(picture.trigger):
                    wanted.append(picture)
                else:
                    self._budget.give_back(picture.size)
            self._pictures = wanted

    def done(self, frame: Frame, result: Result | None) -> None:
        """See `FrameSource.done`. A picture does not come again."""
        with self._changed:
            self._let_go(frame.source_key)

    def reject(self, frame: Frame, reason: str, message: str) -> bool:
        """See `FrameSource.reject`."""
        with self._changed:
            self._let_go(frame.source_key)
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
        return skipped

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(5.0)

    # -- the camera's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._grabber.open()
                while not self._closed.is_set():
                    self._grab()
            except SourceEnded as e:
                self._end(str(e))
                return
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
        # A free-running camera shows a part in the first picture that begins after its trigger. Where a signal at the
        # camera asks for each picture, the picture that comes is the one of the trigger that came with the signal.
        signal = bool(getattr(self._grabber, "waits_for_signal", False))
        trigger = self._triggers.take() if self._triggers is not None and not signal else None
        try:
            pixels = self._grabber.read()
        except Exception:
            if self._triggers is not None and trigger is not None:
                self._triggers.miss(trigger, NoVerdict.READ_FAILED)
            raise
        if self._triggers is not None and signal and pixels is not None:
            trigger = self._triggers.take()
        if self._problem:
            if self._backoff.failures:
                _log.info("camera %s works again", self.name)
            self._problem = ""
            self._backoff.succeeded()
        if self._triggers is not None:
            self._triggers.lost = False
            if trigger is None or not self._triggers.is_open(trigger):
                return
            if pixels is None:
                self._triggers.untake(trigger)
                return
        if pixels is not None:
            self._keep(pixels, trigger)

    def _keep(self, pixels: NDArray[np.uint8], trigger: Trigger | None) -> None:
        at, size, problem = self._clock(), pixels.nbytes, None
        count, most = pixels.shape[0] * pixels.shape[1] if pixels.ndim > 1 else 0, self._budget.max_pixels
        if count > most:
            size, problem = (
                0,
                ("too-large", f"expected at most {most} pixels, got {pixels.shape[1]} x {pixels.shape[0]}"),
            )
        with self._changed:
            if self._mode == "latest":
                self._skipped += len(self._pictures)
                self._budget.give_back(sum(picture.size for picture in self._pictures))
                self._pictures.clear()
            self._drop_what_came_too_late()
        if not self._has_room(size, trigger):
            return
        with self._changed:
            self._number += 1
            kept = None if problem else pixels
            self._pictures.append(_Picture(kept, at, self._number, trigger, size, problem))
            self._changed.notify_all()
        self._wake.set()

    def _has_room(self, size: int, trigger: Trigger | None) -> bool:
        """Take room for a picture; where there is none, say what became of the picture."""
        waits = trigger is None and self._mode == "every"
        while not self._budget.take(size, _ROOM_S if waits else 0.0):
            if waits and not self._closed.is_set():
                continue
            if trigger is not None and self._triggers is not None:
                self._triggers.miss(trigger, NoVerdict.MEMORY_FULL)
            elif not waits:
                with self._changed:
                    self._skipped += 1
            return False
        return True

    def _end(self, why: str) -> None:
        _log.info("camera %s: %s", self.name, why)
        if self._triggers is not None:
            self._triggers.lost = True
        with self._changed:
            self._problem = f"{self.name}: {why}"
            self._changed.notify_all()
        self._wake.set()

    def _gone(self, why: str) -> None:
        wait_s = self._backoff.failed()
        message = f"{self.name}: {why}"
        if self._backoff.failures == 1:
            _log.warning("camera %s; it is tried again", message)
        if self._triggers is not None:
            self._triggers.lost = True
        with self._changed:
            self._problem = message
            self._changed.notify_all()
        self._wake.set()
        self._closed.wait(wait_s)

    def _frame(self, picture: _Picture) -> Frame:
        name = f"{picture.at.strftime('%Y%m%dT%H%M%S.%fZ')}-{picture.number}.{self._extension}"
        key = f"{self._born}-{picture.number}"
        trigger = picture.trigger
        part_id = trigger.part_id if trigger is not None else None
        asked = Asked(trigger, self._triggers) if trigger is not None and self._triggers is not None else None
        if picture.pixels is None:
            return Frame(key, name, b"", picture.at, part_id, picture.problem, asked)
        try:
            good, encoded = cv2.imencode(f".{self._extension}", picture.pixels, self._parameters)
        except cv2.error as e:
            good, why = False, f": {e}"
        else:
            why = ""
        if good:
            return Frame(key, name, encoded.tobytes(), picture.at, part_id, None, asked, self._doubt(picture.pixels))
        problem = ("unreadable", f"a picture of shape {picture.pixels.shape} cannot be encoded{why}")
        return Frame(key, name, b"", picture.at, part_id, problem, asked)

    def _doubt(self, pixels: NDArray[np.uint8]) -> PictureProblem | None:
        """Compare a frame with the one before. Frames are compared, not all pictures: a stream may repeat a picture."""
        if self._frozen_after is None:
            return None
        same = self._last is not None and np.array_equal(self._last, pixels)
        self._last, self._same = pixels, self._same + 1 if same else 1
        return PictureProblem.FROZEN if self._same >= self._frozen_after else None
