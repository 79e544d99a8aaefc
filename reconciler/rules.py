"""Rules that compare the desired state of a group with its devices' reports. They use ports only, no server's library.

One pass reads every desired state and the devices' reports, and moves `champion` of each use case to the newest release
that a whole group runs. A second pass with the same states and reports changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from inspection.documents import DesiredState, Release, Reported

UNKNOWN: Final = "unknown"
"""The state of a device whose report could not be read."""


class UnreadReport(Protocol):
    """A report that could not be read or does not parse."""

    @property
    def device(self) -> str:
        """The device."""

    @property
    def reason(self) -> str:
        """Why it cannot be relied on."""

    def may_count_for(self, use_case: str, group: str) -> bool:
        """Whether the device may inspect this product in this group: its report does not exclude that."""


class Reading(Protocol):
    """One reading of the devices' reports."""

    @property
    def reports(self) -> Sequence[Reported]:
        """The latest report of each device."""

    @property
    def unread(self) -> Sequence[UnreadReport]:
        """The devices whose report cannot be relied on."""


class DeviceReports(Protocol):
    """Reads the reports that devices send."""

    def reading(self) -> Reading:
        """Return the latest report of each device, and which of them could not be read."""


class Publisher(Protocol):
    """Reads the published desired states and releases."""

    def desired_names(self) -> Iterable[tuple[str, str]]:
        """Return (use case, group) of every published desired state."""

    def desired(self, use_case: str, group: str) -> DesiredState | None:
        """Return the desired state of a product in a group; None if none was published."""

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
    """What one device runs and what it should run. late: its last report is older than the group's timeout.

    state: as the device reports it, or `UNKNOWN` where its report could not be read; `reason` then says why.
    """

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
    """A use case's devices in a group. rolled_out: the release that all of them run; None while one does not."""

    use_case: str
    group: str
    sequence: int
    devices: tuple[DeviceState, ...]
    rolled_out: str | None


def group_state(
    group: str, desired: DesiredState, reports: Iterable[Reported], now: datetime, unread: Iterable[UnreadReport] = ()
) -> GroupState:
    """Compare the reports of a group with its desired state.

    A device without a recent report is marked as late, not as failed. While it does not run the wanted release,
    `rolled_out` stays None. So it does while a report of the group is unread: what that device runs is unknown. A
    report that does not even say its group counts for each group.
    """
    known = [
        DeviceState(
            device=report.device,
            wanted=desired.release_for(report.device),
            running=report.running_release,
            pending=report.pending_release,
            state=report.state,
            reason=report.reason,
            late=desired.is_late(report.reported_at, now),
        )
        for report in reports
        if report.counts_for(desired.use_case, group)
    ]
    unknown = [
        DeviceState(
            device=report.device,
            wanted=desired.release_for(report.device),
            running=None,
            pending=None,
            state=UNKNOWN,
            reason=f"its report cannot be read: {report.reason}",
            late=False,
        )
        for report in unread
        if report.may_count_for(desired.use_case, group)
    ]
    devices = tuple(sorted([*known, *unknown], key=lambda device: device.device))
    final = desired.ordered
    everywhere = bool(devices) and all(d.settled and d.running == final for d in devices)
    return GroupState(desired.use_case, group, desired.sequence, devices, final if everywhere else None)


def group_states(publisher: Publisher, fleet: DeviceReports, now: datetime) -> list[GroupState]:
    """The state of each group of each use case for which something is desired."""
    names = tuple(publisher.desired_names())
    if not names:
        return []
    found = fleet.reading()
    states = []
    for use_case, group in names:
        desired = publisher.desired(use_case, group)
        if desired is not None:
            states.append(group_state(group, desired, found.reports, now, found.unread))
    return states


def next_champion(current: int | None, rolled_out: Iterable[int], *, all_settled: bool) -> int | None:
    """The version to make the champion, or None where the present one stays.

    It is the newest version that a whole group runs. An older one than the present follows only where every group is
    settled: a group between two releases runs none as a whole, and must not turn the champion back for that time.

    Args:
        current: the version of the champion.
        rolled_out: for each group that runs one release as a whole, its version.
        all_settled: whether each group with devices runs one release as a whole.
    """
    newest = max(rolled_out, default=None)
    if newest is None or newest == current:
        return None
    return newest if current is None or newest > current or all_settled else None


def reconcile(publisher: Publisher, fleet: DeviceReports, champions: Champions, now: datetime) -> list[GroupState]:
    """One pass over all use cases and groups; returns their states."""
    states = group_states(publisher, fleet, now)
    for use_case in sorted({state.use_case for state in states}):
        own = [state for state in states if state.use_case == use_case and state.devices]
        found = [publisher.release(state.rolled_out) for state in own if state.rolled_out is not None]
        versions = [release.version for release in found if release is not None]
        version = next_champion(champions.current(use_case), versions, all_settled=len(versions) == len(own))
        if version is not None:
            champions.move(use_case, version)
    return states
