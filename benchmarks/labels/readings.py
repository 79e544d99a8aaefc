"""How labeling and verification read a use case's events: all of them once in a run, then what is new."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.labels.material import USE_CASE, make_factory
from benchmarks.labels.scans import Size, append_events, forget_peak, peak_bytes
from components.labeling.known_events import KnownEvents
from components.settings import Settings
from components.stores.labels.store import LabelStore


@dataclass(frozen=True, slots=True)
class EventReading:
    """The seconds and the rows of a run's first pass, and of a pass after some events were appended.

    resident_bytes: the peak of the process up to the end of the first pass.
    """

    first_s: float
    first_rows: int
    later_s: float
    later_rows: int
    resident_bytes: int


def read_events(settings: Settings, size: Size, known_events: int) -> EventReading:
    """Read the events as `verify` does: in two passes, between which `size.new` events are appended.

    known_events: how many the table has.
    """
    known = KnownEvents(LabelStore.open(settings), USE_CASE)
    forget_peak()
    first_s, first_rows = _one_pass(known)
    resident_bytes = peak_bytes()
    append_events(settings, make_factory(size.images), size.new, first=known_events // 2)
    later_s, later_rows = _one_pass(known)
    return EventReading(first_s, first_rows, later_s, later_rows, resident_bytes)


def _one_pass(known: KnownEvents) -> tuple[float, int]:
    began = time.monotonic()
    rows = known.refresh()
    known.in_doubt()
    return time.monotonic() - began, rows
