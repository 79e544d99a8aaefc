"""Triggers: messages on the line's broker, each of which asks for one frame, and ends in exactly one result.

A trigger is open from its message until it is settled: claimed by the loop for a verdict, or missed. Whoever settles it
first decides; the other learns that it came too late. A trigger that nobody has settled by its deadline is missed.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from edge_agent.sources.metadata import MetadataError, checked_text, read_metadata
from inspection.verdict import NoVerdict

_log = logging.getLogger(__name__)

_REMEMBERED: Final = 200
_MAX_MISSED: Final = 10_000
"""Misses that could not be written to disk yet; the disk is full then, and has been for this many triggers."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One request for a frame.

    key: names the trigger, also after a restart. asked_at: when its message came, for people. at and deadline: seconds,
    by a clock that never jumps. id: the sender's name for it, so that a message that arrives twice takes one frame.
    """

    key: str
    asked_at: datetime
    at: float
    deadline: float
    part_id: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        if self.deadline < self.at:
            raise ValueError(f"expected a deadline after the trigger, but got {self.deadline} after {self.at}")


@dataclass(frozen=True, slots=True)
class Missed:
    """A trigger that ended without a verdict, and why."""

    trigger: Trigger
    reason: NoVerdict


class TriggerQueue:
    """The open triggers of one camera. Safe to share between the threads of broker, camera and loop.

    Args:
        deadline_s: how long after its message a trigger may wait for its verdict.
        max_waiting: how many triggers may be open; one more is missed at once.
        clock: seconds, by a clock that never jumps.
        now: the time of day.
        changed: set whenever a deadline may have come nearer, or a trigger was missed.
    """

    def __init__(
        self,
        *,
        deadline_s: float = 0.5,
        max_waiting: int = 8,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        changed: threading.Event | None = None,
    ) -> None:
        self._deadline_s = deadline_s
        self._max_waiting = max_waiting
        self._clock = clock
        self._now = now
        self._changed = changed or threading.Event()
        self._lock = threading.Lock()
        self._born = time.time_ns()
        self._numbers = itertools.count(1)
        self._waiting: deque[Trigger] = deque()
        self._open: dict[str, Trigger] = {}
        self._missed: deque[Missed] = deque(maxlen=_MAX_MISSED)
        self._known: deque[str] = deque(maxlen=_REMEMBERED)
        self.lost = False
        """Whether the camera is gone at present; the camera says so, and a missed trigger then says it too."""

    def put(self, payload: bytes) -> None:
        """Add the trigger of one message. payload: empty, or `{"part_id": "…", "id": "…"}` with either key."""
        part_id, name = _read(payload)
        at = self._clock()
        with self._lock:
            if name is not None:
                if name in self._known:
                    return
                self._known.append(name)
            key = f"{self._born}-{next(self._numbers)}"
            trigger = Trigger(key, self._now(), at, at + self._deadline_s, part_id, name)
            self._expire(at)
            if len(self._open) >= self._max_waiting:
                self._missed.append(Missed(trigger, NoVerdict.QUEUE_FULL))
            else:
                self._open[key] = trigger
                self._waiting.append(trigger)
        self._changed.set()

    def take(self) -> Trigger | None:
        """The oldest trigger that waits for a picture and whose deadline has not passed; None where there is none."""
        with self._lock:
            self._expire(self._clock())
            while self._waiting:
                trigger = self._waiting.popleft()
                if trigger.key in self._open:
                    return trigger
        return None

    def untake(self, trigger: Trigger) -> None:
        """Let a trigger wait again, before all others: no picture came, and the camera is well."""
        with self._lock:
            self._waiting.appendleft(trigger)

    def is_open(self, trigger: Trigger) -> bool:
        """Whether the trigger may still get its verdict."""
        with self._lock:
            self._expire(self._clock())
            return trigger.key in self._open

    def claim(self, trigger: Trigger) -> bool:
        """Settle a trigger for the verdict that is about to be recorded; False where it is too late for it."""
        with self._lock:
            self._expire(self._clock())
            return self._open.pop(trigger.key, None) is not None

    def reopen(self, trigger: Trigger) -> None:
        """Take a claim back: the verdict could not be recorded."""
        with self._lock:
            self._open[trigger.key] = trigger
        self._changed.set()

    def miss(self, trigger: Trigger, reason: NoVerdict) -> None:
        """Settle a trigger without a verdict, unless it is settled already."""
        with self._lock:
            if self._open.pop(trigger.key, None) is not None:
                self._missed.append(Missed(trigger, reason))
        self._changed.set()

    def miss_all(self, reason: NoVerdict) -> None:
        """Settle every open trigger without a verdict."""
        with self._lock:
            self._expire(self._clock())
            self._missed.extend(Missed(trigger, reason) for trigger in self._open.values())
            self._open.clear()

    def take_missed(self) -> Sequence[Missed]:
        """The triggers that were missed since the last call, those whose deadline has passed by now included."""
        with self._lock:
            self._expire(self._clock())
            missed = tuple(self._missed)
            self._missed.clear()
        return missed

    def put_back(self, missed: Sequence[Missed]) -> None:
        """Keep misses for the next `take_missed`: they could not be recorded."""
        with self._lock:
            self._missed.extendleft(reversed(missed))

    def next_deadline(self) -> float | None:
        """The earliest deadline of all open triggers, by the clock of this queue; None where there is none."""
        with self._lock:
            return min((trigger.deadline for trigger in self._open.values()), default=None)

    def _expire(self, now: float) -> None:
        """Miss what is over its deadline. The caller holds the lock."""
        late = [trigger for trigger in self._open.values() if trigger.deadline < now]
        for trigger in late:
            del self._open[trigger.key]
            self._missed.append(Missed(trigger, NoVerdict.CAMERA_LOST if self.lost else NoVerdict.DEADLINE))
        if late:
            self._changed.set()


@dataclass(frozen=True, slots=True)
class Asked:
    """A trigger, and the queue that settles it."""

    trigger: Trigger
    queue: TriggerQueue

    def is_open(self) -> bool:
        """See `TriggerQueue.is_open`."""
        return self.queue.is_open(self.trigger)

    def claim(self) -> bool:
        """See `TriggerQueue.claim`."""
        return self.queue.claim(self.trigger)

    def reopen(self) -> None:
        """See `TriggerQueue.reopen`."""
        self.queue.reopen(self.trigger)

    def miss(self, reason: NoVerdict) -> None:
        """See `TriggerQueue.miss`."""
        self.queue.miss(self.trigger, reason)


def _read(payload: bytes) -> tuple[str | None, str | None]:
    """Part id and id of a message; None for either where the message does not say it in a form that can be used."""
    try:
        value = read_metadata(payload)
    except MetadataError as e:
        _log.warning("a trigger is taken without its part: %s", e)
        return None, None
    found: dict[str, str | None] = {}
    for key in ("part_id", "id"):
        try:
            found[key] = checked_text(value.get(key), key)
        except MetadataError as e:
            _log.warning("a trigger is taken without its %s: %s", key, e)
    return found.get("part_id"), found.get("id")
