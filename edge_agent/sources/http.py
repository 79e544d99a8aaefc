"""A camera for images that are posted to the device: each request is one frame, and gets its result."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from edge_agent.camera_config import HttpCamera
from edge_agent.errors import SourceError, StateError
from edge_agent.memory_budget import MemoryBudget
from edge_agent.result import Result
from edge_agent.sources.port import Frame
from inspection import sha256_of

_KEYS_KEPT: Final = 1000


class UnknownOutcome(SourceError):
    """Whether an idempotency key was judged before cannot be told at present."""


class KeyReused(SourceError):
    """An idempotency key came again with another image."""


class QueueFull(SourceError):
    """The queue is full; the sender should try again."""


@dataclass(slots=True, eq=False)
class Posted:
    """One request on its way through the loop. `result` or `problem` (fixed word, message) is set before `tell`."""

    frame: Frame
    tell: Callable[[], None]
    key: str | None = None
    result: Result | None = None
    problem: tuple[str, str] | None = None


class HttpSource:
    """`FrameSource` over a bounded queue. A request is answered only after its result is on disk.

    Args:
        budget: the memory that images may take; by default as much as the queue can hold.
        answers: finds the result that was recorded under an idempotency key, also before a restart.
    """

    def __init__(
        self,
        camera: HttpCamera,
        wake: threading.Event,
        budget: MemoryBudget | None = None,
        answers: Callable[[str], Result | None] = lambda _: None,
    ) -> None:
        self._answers = answers
        self.name = camera.name
        self.budget: Final = budget or MemoryBudget(3 * camera.queue * camera.max_bytes)
        self.max_bytes: Final = min(camera.max_bytes, self.budget.waiting_bytes)
        self.timeout_s: Final = camera.timeout_s
        self._room = camera.queue
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[Posted] = deque()
        self._in_hand: dict[str, Posted] = {}
        self._reserved = 0
        self._by_key: OrderedDict[str, tuple[str, Result | None]] = OrderedDict()
        """By idempotency key: the digest of the image, and its result; no result while it is under way."""

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Hold a place in the queue while an image is still being received: what has no place is not read at all.

        Raises:
            QueueFull: as many images wait already as the configuration allows.
        """
        with self._lock:
            self._check_room()
            self._reserved += 1
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= 1

    def recall(self, key: str) -> None:
        """Bring back the result that an earlier run of the agent recorded under a key. Reads the disk.

        Raises:
            UnknownOutcome: the disk cannot be read, so nobody knows whether the key was judged.
        """
        with self._lock:
            if key in self._by_key:
                return
        try:
            result = self._answers(key)
        except StateError as e:
            raise UnknownOutcome(
                f"it is not known whether the image with the key {key!r} was judged ({e}); ask again in a moment"
            ) from e
        if result is not None and result.sha256 is not None:
            with self._lock:
                self._by_key.setdefault(key, (result.sha256, result))

    def submit(
        self, data: bytes, *, name: str, part_id: str | None, tell: Callable[[], None], key: str | None = None
    ) -> Posted:
        """Queue one image. Call it after `reserved` has ended, and with a key after `recall`.

        Args:
            tell: called once, from another thread, when there is an answer.
            key: the sender's name for this request. The same key and image again is not inspected again: the answer is
                the result of before.

        Raises:
            QueueFull: as many images wait already as the configuration allows, or the first request with this key has
                no result yet.
            KeyReused: the key came with another image.
        """
        posted = Posted(Frame(uuid.uuid4().hex, name, data, datetime.now(UTC), part_id, request_key=key), tell, key)
        digest = sha256_of(data)
        with self._lock:
            if key is not None and key in self._by_key:
                known, posted.result = self._by_key[key]
                if known != digest:
                    raise KeyReused(f"the key {key!r} came with another image before; expected a key for each image")
                if posted.result is None:
                    raise QueueFull(f"the image with the key {key!r} is being inspected; ask again in a moment")
            else:
                self._check_room()
                if key is not None:
                    self._by_key[key] = digest, None
                self._waiting.append(posted)
        if posted.result is not None:
            tell()
        self._wake.set()
        return posted

    def _check_room(self) -> None:
        if len(self._waiting) + self._reserved >= self._room:
            raise QueueFull(f"{self._room} images wait already; send this one again in a moment")

    def withdraw(self, posted: Posted) -> bool:
        """Remove an image that still waits, so that it is not inspected; False where it is not waiting any more."""
        with self._lock:
            if posted not in self._waiting:
                return False
            self._waiting.remove(posted)
            self._settle_key(posted)
        return True

    def next(self, timeout_s: float) -> Frame | None:
        """See `FrameSource.next`."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                if self._waiting:
                    posted = self._waiting.popleft()
                    self._in_hand[posted.frame.source_key] = posted
                    return posted.frame
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._wake.wait(left)
            self._wake.clear()

    def done(self, frame: Frame, result: Result | None) -> None:
        """See `FrameSource.done`."""
        self._answer(frame, result=result)

    def reject(self, frame: Frame, reason: str, message: str) -> bool:
        """See `FrameSource.reject`."""
        self._answer(frame, problem=(reason, message))
        return True

    def give_back(self, frame: Frame) -> None:
        """See `FrameSource.give_back`."""
        with self._lock:
            posted = self._in_hand.pop(frame.source_key, None)
            if posted is not None:
                self._waiting.appendleft(posted)

    def holds(self, source_key: str) -> bool:
        """See `FrameSource.holds`."""
        return False

    def take_skipped(self) -> int:
        """See `FrameSource.take_skipped`."""
        return 0

    def close(self) -> None:
        """See `FrameSource.close`. Requests that still wait are answered that the agent stops."""
        with self._lock:
            left = [*self._in_hand.values(), *self._waiting]
            self._in_hand.clear()
            self._waiting.clear()
            for posted in left:
                self._settle_key(posted)
        for posted in left:
            posted.problem = ("stopping", "the agent stops; send this image again")
            posted.tell()

    def _answer(self, frame: Frame, *, result: Result | None = None, problem: tuple[str, str] | None = None) -> None:
        with self._lock:
            posted = self._in_hand.pop(frame.source_key, None)
            if posted is not None:
                posted.result, posted.problem = result, problem
                self._settle_key(posted)
        if posted is not None:
            posted.tell()

    def _settle_key(self, posted: Posted) -> None:
        """Keep the result under its key; without a result the sender may try the key again."""
        if posted.key is None:
            return
        digest, _ = self._by_key.pop(posted.key)
        if posted.result is not None:
            self._by_key[posted.key] = digest, posted.result
        answered = [key for key, (_, result) in self._by_key.items() if result is not None]
        for key in answered[: max(0, len(answered) - _KEYS_KEPT)]:
            del self._by_key[key]
