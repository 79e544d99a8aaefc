"""Reads the fleet again and again. The pages and the metrics show the latest reading, so that a visitor costs none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from components.fleet_page.history import History
from components.stores.fleet.reports import FleetReading
from components.stores.fleet.standing import Fleet, FleetStanding, GroupStanding, Publisher, group_standing
from components.stores.objects.s3 import ObjectStoreError
from components.stores.releases.signer_client import SignerError
from inspection.codec import DocumentError
from inspection.documents import DesiredState, check_sha256

_log = logging.getLogger(__name__)
EVERY_S: Final = 15.0
_SHARE: Final = 4.0
"""The pause after a reading is at least so many times as long as the reading took: a large fleet is read less often."""
_MOST_ASKED: Final = 50


@dataclass(frozen=True, slots=True)
class Progress:
    """How the open stages of a rollout stand: devices by what became of the release there. why: what follows, in words.

    frames: inspected with the release. act: what the reconciler would do now.
    """

    act: str
    why: str
    succeeded: int = 0
    failed: int = 0
    on_the_way: int = 0
    held: int = 0
    late: int = 0
    unread: int = 0
    frames: int = 0
    comparisons: tuple[str, ...] = ()

    @property
    def expected(self) -> int:
        """Devices that the shares are of."""
        return self.succeeded + self.failed + self.on_the_way


Judge = Callable[[str, DesiredState, FleetReading, datetime], Progress]
"""The reconciler's rule, from group, desired state, reports and time to how the rollout stands."""


class Clock(Protocol):
    """The time, UTC."""

    def __call__(self) -> datetime:
        """Return it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading. at: when it succeeded; None before the first. problem: why the latest attempt failed; empty: none.

    versions: digest of a release -> its version in MLflow. progress: (use case, group) -> how its rollout stands.
    software: the same of the agent's software, for groups in which it is rolled out.
    """

    at: datetime | None = None
    standing: FleetStanding = field(default_factory=lambda: FleetStanding(datetime.now(UTC)))
    versions: Mapping[str, int] = field(default_factory=dict)
    progress: Mapping[tuple[str, str], Progress] = field(default_factory=dict)
    software: Mapping[tuple[str, str], Progress] = field(default_factory=dict)
    problem: str = ""

    def group(self, use_case: str, group: str) -> GroupStanding | None:
        """A group by its names; None where nothing is desired for it."""
        found = (g for g in self.standing.groups if (g.desired.use_case, g.group) == (use_case, group))
        return next(found, None)

    def release(self, digest: str | None) -> str:
        """A release as people name it: `version 7 (0123456789ab)`, or the short digest where the version is unknown."""
        if not digest:
            return "–"
        version = self.versions.get(digest)
        return digest[:12] if version is None else f"v{version} ({digest[:12]})"


class Watcher:
    """Makes snapshots. Safe to share between threads."""

    def __init__(
        self,
        publisher: Publisher,
        fleet: Fleet,
        judge: Judge,
        history: History,
        now: Clock,
        every_s: float = EVERY_S,
        judge_software: Judge | None = None,
    ) -> None:
        self._publisher = publisher
        self._fleet = fleet
        self._judge = judge
        self._judge_software = judge_software
        self._history = history
        self._now = now
        self._every_s = every_s
        self._versions: dict[str, int] = {}
        self._wake = threading.Event()
        self.snapshot = Snapshot()

    def read(self) -> Snapshot:
        """Read once. Where that fails, the former reading stays, with the problem."""
        former = self.snapshot
        try:
            self.snapshot = self._read()
        except (ObjectStoreError, SignerError, DocumentError) as e:
            _log.warning("the fleet cannot be read: %s", e)
            self.snapshot = replace(former, problem=str(e))
        return self.snapshot

    def _read(self) -> Snapshot:
        now = self._now()
        names = tuple(self._publisher.desired_names())
        reading = self._fleet.reading()
        groups, progress, software = [], {}, {}
        for use_case, group in names:
            desired = self._publisher.desired(use_case, group)
            if desired is not None:
                groups.append(group_standing(group, desired, reading.reports, reading.unread, now))
                progress[use_case, group] = self._judge(group, desired, reading, now)
                if self._judge_software is not None and desired.agent is not None and desired.agent.rollout is not None:
                    software[use_case, group] = self._judge_software(group, desired, reading, now)
        self._history.add(reading.reports)
        standing = FleetStanding(now, tuple(groups))
        self._learn_versions(standing)
        return Snapshot(now, standing, dict(self._versions), progress, software)

    def _learn_versions(self, standing: FleetStanding) -> None:
        devices = [device for group in standing.groups for device in group.devices]
        digests = {digest for device in devices for digest in (device.wanted, device.running) if digest}
        self._versions = {digest: version for digest, version in self._versions.items() if digest in digests}
        for digest in sorted(digests - set(self._versions))[:_MOST_ASKED]:
            try:
                release = self._publisher.release(check_sha256(digest))  # a device may report any text
            except ValueError:
                continue
            if release is not None:
                self._versions[digest] = release.version

    def look_now(self) -> None:
        """Have `run` read at once."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                self.read()
            except Exception:
                # A thread that ended would leave the page standing still without a word.
                _log.exception("a reading of the fleet failed")
                self.snapshot = replace(self.snapshot, problem="an error; see the log of the page")
            self._wake.wait(max(self._every_s, _SHARE * (time.monotonic() - began)))
            self._wake.clear()
