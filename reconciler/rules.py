"""What should run, what does run, and what follows from it: rules over ports, no library of any server.

One pass reads a group's desired state and its devices' reports and moves `champion` to the release that the whole group
runs. It never starts what it cannot name again: the same facts lead to the same action, and a second pass does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from inspection.documents import DesiredState, Release, Reported


class DeviceReports(Protocol):
    """The reports that devices send."""

    def reports(self) -> Iterable[Reported]:
        """The latest report of each device."""


class Publisher(Protocol):
    """What was published."""

    def desired(self, group: str) -> DesiredState | None:
        """What a group should run."""

    def release(self, digest: str) -> Release | None:
        """A published release."""


class Champions(Protocol):
    """The alias `champion` of a model."""

    def current(self, model: str) -> int | None:
        """The version that has it."""

    def move(self, model: str, version: int) -> None:
        """Give it to a version."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One device beside what it should run. late: its last report is older than the group's timeout."""

    device: str
    wanted: str | None
    running: str | None
    pending: str | None
    state: str
    reason: str
    late: bool

    @property
    def settled(self) -> bool:
        """It runs what it should, for good: nothing is pending."""
        return self.wanted is not None and self.running == self.wanted and self.pending is None


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group: its sequence, its devices, and the release that all of them run (None: not yet)."""

    group: str
    sequence: int
    devices: tuple[DeviceState, ...]
    rolled_out: str | None


def group_state(group: str, desired: DesiredState, reports: Iterable[Reported], now: datetime) -> GroupState:
    """Compare reports with the desired state. An offline device is late, not failed; it holds a full rollout back."""
    devices = tuple(
        DeviceState(
            device=report.device,
            wanted=desired.release_for(report.device),
            running=report.running_release,
            pending=report.pending_release,
            state=report.state,
            reason=report.reason,
            late=now - report.reported_at > timedelta(seconds=desired.report_timeout_s),
        )
        for report in sorted(reports, key=lambda report: report.device)
        if report.group == group
    )
    final = desired.waves[-1].release_digest if desired.waves else None
    everywhere = bool(devices) and all(d.settled and d.running == final for d in devices)
    return GroupState(group, desired.sequence, devices, final if everywhere else None)


def reconcile(
    group: str, publisher: Publisher, fleet: DeviceReports, champions: Champions, now: datetime
) -> GroupState | None:
    """One pass over one group; None where nothing is desired yet."""
    desired = publisher.desired(group)
    if desired is None:
        return None
    state = group_state(group, desired, fleet.reports(), now)
    if state.rolled_out is not None:
        release = publisher.release(state.rolled_out)
        if release is not None and champions.current(release.use_case) != release.version:
            champions.move(release.use_case, release.version)
    return state
