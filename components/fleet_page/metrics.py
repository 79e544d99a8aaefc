"""The fleet for Prometheus. Labels are products, groups, and words of fixed lists: no device, digest or reason.

A group of a thousand devices has as many series as one of three. Which device it is says the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from components.fleet_page.watcher import Progress, Snapshot
from components.metrics_text import Metric
from components.stores.fleet.standing import DeviceStanding, GroupStanding, Step

STATES: Final = (
    "running", "no-release", "fetching", "trying", "pending", "probation", "paused", "unknown", "late", "other",
)  # fmt: skip
"""What a device's state may be here. A word that this program does not know is `other`."""
VERDICTS: Final = ("pass", "fail", "uncertain", "not-inspected", "other")
ROLLOUT_STATES: Final = ("none", "running", "paused", "stopped", "done", "pinned")
SOFTWARE_STATES: Final = ("none", "waiting", "running", "paused", "stopped", "done")
OUTCOMES: Final = ("succeeded", "failed", "on-the-way", "held", "late", "unread")
_GROUP: Final = ("use_case", "group")
_MOST_VERSIONS: Final = 10


def fleet_metrics(snapshot: Snapshot, now: datetime, failed_sign_ins: int) -> list[Metric]:
    """All metrics of the page. failed_sign_ins: since the page started."""
    groups = snapshot.standing.groups
    return [
        _one("kizu_fleet_read_ok", "1: the latest reading of desired states and reports succeeded.",
             float(not snapshot.problem and snapshot.at is not None)),
        _one("kizu_fleet_read_age_seconds", "Seconds since the latest reading that succeeded.",
             (now - snapshot.at).total_seconds() if snapshot.at else float("inf")),
        Metric("kizu_fleet_page_failed_sign_ins_total", "Sign-ins with a wrong password.", (({}, failed_sign_ins),),
               "counter"),
        _counted(groups, "kizu_fleet_devices", "Devices by state.", "state", STATES, _states),
        _each(groups, "kizu_fleet_devices_refusing", "Devices that refused the release that they should run.",
              lambda device: device.next_step is Step.RETRY),
        _each(groups, "kizu_fleet_devices_behind", "Devices that do not run the release that they should run.",
              lambda device: device.next_step is not Step.NOTHING),
        _each(groups, "kizu_fleet_devices_pinned", "Devices whose operator pinned a release.",
              lambda device: device.report and device.report.pinned_release),
        _each(groups, "kizu_fleet_devices_not_inspecting", "Devices that say why no frame is inspected.",
              lambda device: device.report and device.report.problem),
        _each(groups, "kizu_fleet_cameras_lost", "Cameras from which no frame comes.", _cameras_lost),
        _each(groups, "kizu_fleet_outbox_items", "Items that wait on devices to be sent back.",
              lambda device: device.report and device.report.outbox_depth),
        _each(groups, "kizu_fleet_outbox_dropped", "Items that the devices' outboxes dropped, in all.",
              lambda device: device.report and device.report.outbox_dropped),
        _counted(groups, "kizu_fleet_verdicts_total", "Results by verdict, of the devices that are there.", "verdict",
                 VERDICTS, _verdicts, kind="counter"),
        _versions(snapshot),
        Metric(
            "kizu_fleet_sequence", "The sequence of the desired state.",
            tuple((_names(group), group.desired.sequence) for group in groups), labels=_GROUP,
        ),
        Metric(
            "kizu_fleet_rollout_state", "1 for the state of the group's rollout.",
            tuple(
                ({**_names(group), "state": state}, float(state == _rollout_state(group)))
                for group in groups
                for state in ROLLOUT_STATES
            ),
            labels=(*_GROUP, "state"),
        ),
        Metric(
            "kizu_fleet_software_rollout_state", "1 for the state of the rollout of the agent's software.",
            tuple(
                ({**_names(group), "state": state}, float(state == _software_state(group)))
                for group in groups
                for state in SOFTWARE_STATES
            ),
            labels=(*_GROUP, "state"),
        ),
        Metric(
            "kizu_fleet_rollout_stage", "The number of the open stage, from 1.",
            tuple((_names(group), plan.open_stage + 1) for group in groups if (plan := group.desired.rollout)),
            labels=_GROUP,
        ),
        Metric(
            "kizu_fleet_rollout_stages", "How many stages the rollout has.",
            tuple((_names(group), len(plan.stages)) for group in groups if (plan := group.desired.rollout)),
            labels=_GROUP,
        ),
        Metric(
            "kizu_fleet_rollout_devices", "Devices of the open stages by what became of the release there.",
            tuple(
                ({**_names(group), "outcome": outcome}, number)
                for group in groups
                if group.desired.rollout
                and (progress := snapshot.progress.get((group.desired.use_case, group.group)))
                for outcome, number in zip(OUTCOMES, _outcomes(progress), strict=True)
            ),
            labels=(*_GROUP, "outcome"),
        ),
    ]  # fmt: skip


def _outcomes(progress: Progress) -> tuple[int, ...]:
    return (
        progress.succeeded, progress.failed, progress.on_the_way, progress.held, progress.late, progress.unread,
    )  # fmt: skip


def _names(group: GroupStanding) -> dict[str, str]:
    return {"use_case": group.desired.use_case, "group": group.group}


def _one(name: str, what: str, value: float) -> Metric:
    return Metric(name, what, (({}, value),))


def _each(groups: Iterable[GroupStanding], name: str, what: str, of: object) -> Metric:
    """A sum over the devices of each group. of: from a device to a number, or to anything that is true or not."""
    assert callable(of)
    samples = tuple((_names(group), float(sum(int(_as_number(of(d))) for d in group.devices))) for group in groups)
    return Metric(name, what, samples, labels=_GROUP)


def _as_number(value: object) -> int:
    return value if isinstance(value, int) else int(bool(value))


def _counted(
    groups: Iterable[GroupStanding], name: str, what: str, label: str, words: tuple[str, ...], of: object,
    kind: str = "gauge",
) -> Metric:  # fmt: skip
    """Counts over the devices of each group by a word of a fixed list; other words count as `other`."""
    assert callable(of)
    samples = []
    for group in groups:
        counts: Counter[str] = Counter()
        for device in group.devices:
            for word, number in of(device).items():
                counts[word if word in words else "other"] += number
        samples += [({**_names(group), label: word}, float(counts[word])) for word in words]
    return Metric(name, what, tuple(samples), "counter" if kind == "counter" else "gauge", (*_GROUP, label))


def _states(device: DeviceStanding) -> dict[str, int]:
    return {device.shown_state: 1}


def _verdicts(device: DeviceStanding) -> dict[str, int]:
    return dict(device.report.verdicts or {}) if device.report else {}


def _cameras_lost(device: DeviceStanding) -> int:
    cameras = (device.report.cameras if device.report else None) or {}
    return sum(not camera.ok for camera in cameras.values())


def _versions(snapshot: Snapshot) -> Metric:
    samples = []
    for group in snapshot.standing.groups:
        counts: Counter[str] = Counter()
        for device in group.devices:
            version = snapshot.versions.get(device.running or "")
            counts["none" if device.running is None else "other" if version is None else str(version)] += 1
        shown = dict(counts.most_common(_MOST_VERSIONS))
        shown["other"] = shown.get("other", 0) + sum(n for version, n in counts.items() if version not in shown)
        samples += [
            ({**_names(group), "version": version}, float(number)) for version, number in shown.items() if number
        ]
    return Metric(
        "kizu_fleet_running_version",
        "Devices by the version that they run; the ten most frequent, else `other`.",
        tuple(samples),
        labels=(*_GROUP, "version"),
    )


def _rollout_state(group: GroupStanding) -> str:
    plan = group.desired.rollout
    return str(plan.state) if plan else "none"


def _software_state(group: GroupStanding) -> str:
    order = group.desired.agent
    return str(order.rollout.state) if order is not None and order.rollout is not None else "none"
