"""Where each device stands: what it runs beside what it should run, its next step, and what that step waits for.

Pure rules over desired states and device reports. `kizu devices` and the fleet page show the same standings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from components.stores.fleet.reports import FleetReading, UnreadReport
from inspection.documents import DesiredState, Release, Reported

UNKNOWN: Final = "unknown"
"""The state of a device whose report could not be read."""
SCHEMA_VERSION: Final = 1


class Step(StrEnum):
    """What a device does next. `STEPS` says in words what each is and what it waits for."""

    NOTHING = "nothing"
    REPORT = "report"
    RECONNECT = "reconnect"
    BE_INCLUDED = "be-included"
    UNPIN = "unpin"
    RETRY = "retry"
    SEE_ORDER = "see-order"
    FETCH = "fetch"
    WAIT_FOR_AGENT = "wait-for-agent"
    TRY = "try"
    LOAD = "load"
    PROBATION = "probation"
    KEEP = "keep"
    RESUME = "resume"


STEPS: Final[dict[Step, tuple[str, str]]] = {
    Step.NOTHING: ("nothing: it runs what it should", ""),
    Step.REPORT: ("send a report that can be read", "the device, or a newer version of this program"),
    Step.RECONNECT: ("report again", "its network or its power; it catches up by itself"),
    Step.BE_INCLUDED: ("be included in a wave", "the next stage of the rollout"),
    Step.UNPIN: ("be released from its pin", "its operator: kizu-edge unpin"),
    Step.RETRY: ("try the refused release again", "the cause to pass, or a new order: kizu deploy --again"),
    Step.SEE_ORDER: ("see the newest order", "its next look at the releases"),
    Step.FETCH: ("fetch the release", "its next look at the releases"),
    Step.WAIT_FOR_AGENT: ("take the release", "newer software of its agent: kizu agent order"),
    Step.TRY: ("try the release beside the present one", "the rest of the download"),
    Step.LOAD: ("load the release", "the end of its trial"),
    Step.PROBATION: ("start the probation", "the release to be loaded"),
    Step.KEEP: ("keep the release", "the end of the probation: time and frames"),
    Step.RESUME: ("start the probation again", "the agent to be started"),
}
"""Each step in words: what it is, and what it waits for."""

_BY_STATE: Final = {
    "fetching": Step.TRY,
    "trying": Step.LOAD,
    "pending": Step.PROBATION,
    "probation": Step.KEEP,
    "paused": Step.RESUME,
}


class Publisher(Protocol):
    """Reads the published desired states and releases."""

    def desired_names(self) -> Iterable[tuple[str, str]]:
        """Return (use case, group) of every published desired state."""

    def desired(self, use_case: str, group: str) -> DesiredState | None:
        """Return the desired state of a product in a group; None if none was published."""

    def release(self, digest: str) -> Release | None:
        """Return the release with this digest; None if it was not published."""


class Fleet(Protocol):
    """Reads the reports that devices send."""

    def reading(self) -> FleetReading:
        """Return the latest report of each device, and which of them could not be read."""


@dataclass(frozen=True, slots=True)
class DeviceStanding:
    """One device for one product. report: None where it could not be read; `reason` then says why.

    wave: the number, from 1, of the wave that includes the device; None where none does.
    late: its last report is older than the group's limit.
    """

    device: str
    wanted: str | None
    wave: int | None
    state: str
    reason: str
    late: bool
    next_step: Step
    report: Reported | None = None

    @property
    def running(self) -> str | None:
        """The digest of the release that it runs, as far as a report says."""
        return self.report.running_release if self.report else None

    @property
    def shown_state(self) -> str:
        """The state, or `late` for a device that is: what it reported last is no longer known to be so."""
        return "late" if self.late else self.state

    @property
    def software(self) -> str:
        """The software of its agent in a few words: version, slot, and its state where that is not `kept`."""
        agent = self.report.agent if self.report else None
        if agent is None:
            return (self.report.versions or {}).get("agent", "-") if self.report else "-"
        where = f"{agent.version} ({agent.slot})"
        return where if agent.state in ("kept", "fixed") else f"{where} {agent.state}"

    @property
    def software_words(self) -> tuple[str, ...]:
        """What a filter for software looks at: its version, slot and state, as far as a report says."""
        agent = self.report.agent if self.report else None
        if agent is not None:
            return (agent.version, agent.slot, agent.state)
        version = (self.report.versions or {}).get("agent") if self.report else None
        return (version,) if version else ()

    @property
    def software_reason(self) -> str:
        """Why the software that was ordered does not run; empty where all is well."""
        agent = self.report.agent if self.report else None
        return agent.reason if agent is not None else ""

    def _agent(self) -> dict[str, Any] | None:
        agent = self.report.agent if self.report else None
        if agent is None:
            return None
        return {
            "version": agent.version,
            "slot": agent.slot,
            "state": agent.state,
            "release": agent.release_digest,
            "wanted": agent.wanted_digest,
            "image": agent.image_digest,
            "reason": agent.reason,
            "refused": dict(agent.refused),
        }

    def to_value(self) -> dict[str, Any]:
        """The same for JSON."""
        step, waits_for = STEPS[self.next_step]
        report = self.report
        return {
            "device": self.device,
            "site": report.site if report else None,
            "running_release": self.running,
            "wanted_release": self.wanted,
            "pending_release": report.pending_release if report else None,
            "wave": self.wave,
            "state": self.state,
            "reason": self.reason,
            "late": self.late,
            "reported_at": report.reported_at.isoformat() if report else None,
            "next_step": str(self.next_step),
            "next_step_text": step,
            "waits_for": waits_for,
            "outbox_depth": report.outbox_depth if report else None,
            "agent": self._agent(),
        }


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """The devices of a group that inspect a product, in order of their names."""

    group: str
    desired: DesiredState
    devices: tuple[DeviceStanding, ...]


@dataclass(frozen=True, slots=True)
class FleetStanding:
    """All groups of all products at one moment."""

    at: datetime
    groups: tuple[GroupStanding, ...] = ()

    def to_value(self) -> dict[str, Any]:
        """The same for JSON: the document of `kizu devices --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "at": self.at.isoformat(),
            "groups": [
                {
                    "use_case": group.desired.use_case,
                    "group": group.group,
                    "sequence": group.desired.sequence,
                    "devices": [device.to_value() for device in group.devices],
                }
                for group in self.groups
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which devices are shown. A field that is empty or false lets all pass.

    device: a pattern with `*` and `?`. state: as reported, `unknown`, or `late`. software: of the agent: its version,
    with `*` and `?`, its slot (`a`, `b`, `installed`, `image`), or its state (`kept`, `probation`, `standby`, `fixed`).
    """

    group: str = ""
    use_case: str = ""
    state: str = ""
    late: bool = False
    device: str = ""
    software: str = ""

    def includes(self, device: DeviceStanding) -> bool:
        """Whether a device of a group that passes is shown."""
        return (
            (not self.device or fnmatchcase(device.device, self.device))
            and (not self.late or device.late)
            and (not self.state or self.state in (device.state, device.shown_state))
            and (not self.software or any(fnmatchcase(word, self.software) for word in device.software_words))
        )

    @property
    def any(self) -> bool:
        """Whether something is left out."""
        return self != Filter()

    @property
    def of_devices(self) -> bool:
        """Whether the filter looks at devices, not at groups alone."""
        return bool(self.device or self.late or self.state or self.software)

    def apply(self, fleet: FleetStanding) -> FleetStanding:
        """The groups and devices that pass. A filter of devices leaves out groups of which no device passes."""
        kept = []
        for group in fleet.groups:
            if self.group not in ("", group.group) or self.use_case not in ("", group.desired.use_case):
                continue
            devices = tuple(device for device in group.devices if self.includes(device))
            if devices or not self.of_devices:
                kept.append(replace(group, devices=devices))
        return replace(fleet, groups=tuple(kept))


def next_step(desired: DesiredState, report: Reported, now: datetime) -> Step:
    """What a device does next, from its last report and the desired state of its group."""
    wanted = desired.release_for(report.device)
    if desired.is_late(report.reported_at, now):
        return Step.RECONNECT
    if wanted is None:
        return Step.BE_INCLUDED
    if report.running_release == wanted and report.pending_release is None:
        return Step.NOTHING
    if report.pinned_release and report.pinned_release != wanted:
        return Step.UNPIN
    if report.state in _BY_STATE:
        return _BY_STATE[report.state]
    if report.sequence_seen < desired.sequence:
        return Step.SEE_ORDER
    if report.reason.startswith("waits-for-agent:"):
        return Step.WAIT_FOR_AGENT
    # A report that does not name its failures says in `reason` why the device does not run what it should.
    refused = wanted in report.failures if report.failures is not None else bool(report.reason)
    return Step.RETRY if refused else Step.FETCH


def group_standing(
    group: str, desired: DesiredState, reports: Iterable[Reported], unread: Iterable[UnreadReport], now: datetime
) -> GroupStanding:
    """Compare the reports of a group with its desired state."""
    known = [
        DeviceStanding(
            device=report.device,
            wanted=desired.release_for(report.device),
            wave=_wave(desired, report.device),
            state=report.state,
            reason=report.problem or report.reason,
            late=desired.is_late(report.reported_at, now),
            next_step=next_step(desired, report, now),
            report=report,
        )
        for report in reports
        if report.counts_for(desired.use_case, group)
    ]
    unknown = [
        DeviceStanding(
            device=report.device,
            wanted=desired.release_for(report.device),
            wave=_wave(desired, report.device),
            state=UNKNOWN,
            reason=f"its report cannot be read: {report.reason}",
            late=False,
            next_step=Step.REPORT,
        )
        for report in unread
        if report.may_count_for(desired.use_case, group)
    ]
    return GroupStanding(group, desired, tuple(sorted([*known, *unknown], key=lambda device: device.device)))


def fleet_standing(publisher: Publisher, fleet: Fleet, now: datetime) -> FleetStanding:
    """The standing of each group of each product for which something is desired."""
    names: Sequence[tuple[str, str]] = tuple(publisher.desired_names())
    if not names:
        return FleetStanding(now)
    found = fleet.reading()
    groups = []
    for use_case, group in names:
        desired = publisher.desired(use_case, group)
        if desired is not None:
            groups.append(group_standing(group, desired, found.reports, found.unread, now))
    return FleetStanding(now, tuple(groups))


def _wave(desired: DesiredState, device: str) -> int | None:
    return next((number for number, wave in enumerate(desired.waves, 1) if wave.includes(device)), None)
