"""How a use case's events are read: by labeling and verification, and by the commands of a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.labels.material import USE_CASE, make_factory
from benchmarks.labels.scans import Size, append_events, forget_peak, peak_bytes
from components.exchange.before import Before
from components.labeling.known_events import KnownEvents
from components.reporting.counts import count_labels, read_acts
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


@dataclass(frozen=True, slots=True)
class CommandReading:
    """What one command reads. found: how many images or rows it is about; resident_bytes: the peak of its process."""

    command: str
    seconds: float
    found: int
    resident_bytes: int


def read_for_command(settings: Settings, size: Size, command: str) -> CommandReading:
    """Read the events as a command does, in this process. command: one of `COMMANDS`."""
    labels = LabelStore.open(settings)
    factory = make_factory(size.images)
    forget_peak()
    began = time.monotonic()
    found = COMMANDS[command](labels, [factory.sha256(index) for index in range(min(1000, size.images))])
    return CommandReading(command, time.monotonic() - began, found, peak_bytes())


def _reopen(labels: LabelStore, images: Sequence[str]) -> int:
    known = KnownEvents(labels, USE_CASE)
    known.refresh()
    named = [sha256 for image in images[:3] for sha256 in known.starting_with(image[:12])]
    return len(known.standing(named)) + len(known.aside())


def _report(labels: LabelStore, images: Sequence[str]) -> int:
    version = labels.version()
    approved = labels.latest_approved(USE_CASE, version=version)
    return len(count_labels(read_acts(labels, USE_CASE, version), approved, ["scratch"]).approved)


def _import(labels: LabelStore, images: Sequence[str]) -> int:
    events = labels.events(use_case=USE_CASE, images=images)
    Before(events)
    return len(events)


def _export(labels: LabelStore, images: Sequence[str]) -> int:
    return int(labels.rows(USE_CASE).num_rows)


COMMANDS: Final[Mapping[str, Callable[[LabelStore, Sequence[str]], int]]] = {
    "`kizu labels reopen` and `aside`": _reopen,
    "`kizu labels report`": _report,
    "`kizu import` of 1,000 images": _import,
    "`kizu export parquet --all`": _export,
}


def _one_pass(known: KnownEvents) -> tuple[float, int]:
    began = time.monotonic()
    rows = known.refresh()
    known.in_doubt()
    return time.monotonic() - began, rows
