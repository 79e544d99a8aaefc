"""Rules that compare the desired state of a group with its devices' reports. They use ports only, no server's library.

One pass reads the desired state and the reports. If all devices of the group run the release, it moves the alias
`champion` to the version of that release. A second pass with the same state and reports changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from inspection.documents import DesiredState, Release, Reported


class DeviceReports(Protocol):
    """Reads the reports that devices send."""

    def reports(self) -> Iterable[Reported]:
        """Return the latest report of each device."""


class Publisher(Protocol):
    """Reads the published desired states and releases."""

    def desired(self, group: str) -> DesiredState | None:
        """Return the desired state of a group; None if none was published."""

    def release(self, digest: str) -> Release | None:
        """Return the release with this digest; None if it was not published."""


class Champions(Protocol):
    """Reads and moves the alias `champion` of a model."""

    def current(self, model: str) -> int | None:
        """Return the version that has the alias; None if no version has it."""

    def move(self, model: str, version: int) -> None:
        """Give the alias to a version."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What one device runs and what it should run. late: its last report is older than the group's timeout."""

    device: str
    wanted: str | None
    running: str | None
    pending: str | None
    state: str
    reason: str
    late: bool

    @property
    def settled(self) -> bool:
        """Whether the device runs the wanted release and has no pending release."""
        return self.wanted is not None and self.running == self.wanted and self.pending is None


@dataclass(frozen=True, slots=True)
class GroupState:
    """The state of a group. rolled_out: the release that all devices run; None while at least one does not."""

    group: str
    sequence: int
    devices: tuple[DeviceState, ...]
    rolled_out: str | None


def group_state(group: str, desired: DesiredState, reports: Iterable[Reported], now: datetime) -> GroupState:
    """Compare the reports of a group with its desired state.

    A device without a recent report is marked as late, not as failed. While it does not run the wanted release,
    `rolled_out` stays None.
    """
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
    """Compare one group and move `champion` if the whole group runs the release.

    Returns:
        The state of the group; None if no desired state was published for it.
    """
    desired = publisher.desired(group)
    if desired is None:
        return None
    state = group_state(group, desired, fleet.reports(), now)
    if state.rolled_out is not None:
        release = publisher.release(state.rolled_out)
        if release is not None and champions.current(release.use_case) != release.version:
            champions.move(release.use_case, release.version)
    return state
