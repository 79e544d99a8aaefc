"""Triggers: messages on the line's broker, each of which asks for one frame."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from edge_agent.sources.metadata import MetadataError, checked_text, read_metadata

_log = logging.getLogger(__name__)

_REMEMBERED: Final = 200
_MAX_WAITING: Final = 100


@dataclass(frozen=True, slots=True)
class Trigger:
    """One request for a frame. id: the sender's name for it, so that a message that arrives twice takes one frame."""

    part_id: str | None = None
    id: str | None = None


class TriggerQueue:
    """Passes triggers from the broker's thread to the camera's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Trigger] = deque()
        self._known: deque[str] = deque(maxlen=_REMEMBERED)
        self._lost = 0
        self.arrived = threading.Event()
        """Set when a trigger comes; the thread that waits clears it."""

    def put(self, payload: bytes) -> None:
        """Add the trigger of one message. payload: empty, or `{"part_id": "…", "id": "…"}` with either key."""
        trigger = _read(payload)
        with self._lock:
            if trigger.id is not None:
                if trigger.id in self._known:
                    return
                self._known.append(trigger.id)
            if len(self._waiting) >= _MAX_WAITING:
                self._lost += 1
                return
            self._waiting.append(trigger)
        self.arrived.set()

    def take(self) -> Trigger | None:
        """The oldest trigger; None where none waits."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def take_lost(self) -> int:
        """How many triggers were dropped since the last call, because too many waited."""
        with self._lock:
            lost, self._lost = self._lost, 0
            return lost


def _read(payload: bytes) -> Trigger:
    try:
        value = read_metadata(payload)
    except MetadataError as e:
        _log.warning("a trigger is taken without its part: %s", e)
        return Trigger()
    found: dict[str, str | None] = {}
    for key in ("part_id", "id"):
        try:
            found[key] = checked_text(value.get(key), key)
        except MetadataError as e:
            _log.warning("a trigger is taken without its %s: %s", key, e)
    return Trigger(found.get("part_id"), found.get("id"))
