"""Everything that can be asked about a running agent, for the operator's page, the command and the device report."""

from __future__ import annotations

import platform
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import onnxruntime

from edge_agent import __version__
from edge_agent.camera_states import CameraStates
from edge_agent.config import Config
from edge_agent.damaged import DamagedFiles
from edge_agent.health import Health
from edge_agent.notices import CameraClocks, notices
from edge_agent.ota.activation import Phase, State
from edge_agent.ota.active import Active
from edge_agent.ota.driver import Updates
from edge_agent.ota.refusal import as_failures
from edge_agent.ota.tallies import Tallies
from edge_agent.outbox import Outbox
from edge_agent.result_publisher import ResultPublisher
from edge_agent.shadow.shadow import Shadow
from edge_agent.software.software import Software
from edge_agent.uploader import Uploader
from inspection import FailedRelease, Reported


@dataclass(frozen=True, slots=True)
class Gauges:
    """The parts of a running agent that its state is read from.

    result_publisher: None where no broker is configured. started: `time.monotonic()` at the start. damaged: the state
    files that were set aside. camera_clocks: the cameras whose pictures are dated too early. tallies: what the latest
    releases decided. shadow: the candidate beside the release. software: the agent's own.
    """

    config: Config
    active: Active
    updates: Updates
    outbox: Outbox
    health: Health
    uploader: Uploader
    result_publisher: ResultPublisher | None
    started: float
    damaged: DamagedFiles
    camera_clocks: CameraClocks
    tallies: Tallies
    cameras: CameraStates
    shadow: Shadow
    software: Software

    def free_bytes(self) -> int:
        """Free bytes on the file system of the state folder."""
        return shutil.disk_usage(self.config.state_folder).free

    def alive(self) -> bool:
        """Whether the inspection loop has shown a sign of life within the configured time."""
        return self.health.silent_s() <= self.config.intervals.heartbeat_timeout_s

    def ready(self) -> bool:
        """Whether a frame that comes now is inspected."""
        return self.alive() and self.active.get() is not None and not self.health.problem

    def notices(self) -> tuple[str, ...]:
        """What a person should know though the device inspects."""
        running = self.active.get()
        return notices(
            now=datetime.now(UTC),
            approved_at=running.release.approval.at if running else None,
            cameras_behind=self.camera_clocks.behind(),
            damaged=self.damaged.count(),
            set_aside=self.damaged.names(),
            note=self.updates.state.note,
            not_tightened=running.not_tightened if running else (),
        )

    def reported(self) -> Reported:
        """The device report of this moment."""
        state = self.updates.state
        running = self.active.get()
        return Reported(
            device=self.config.device,
            group=self.config.group,
            reported_at=datetime.now(UTC),
            state=self._state_word(state.phase, running is not None),
            use_case=self.config.use_case,
            site=self.config.site,
            running_release=running.digest if running else None,
            pending_release=state.pending,
            reason=self.updates.reason,
            sequence_seen=state.sequence,
            uptime_s=round(time.monotonic() - self.started, 1),
            outbox_depth=sum(self.outbox.depth().values()),
            outbox_dropped=self.outbox.dropped(),
            versions=versions(),
            frames=self.outbox.total("frames"),
            rejected=self.outbox.total("rejected"),
            problem=self.health.problem,
            damaged_files=self.damaged.count(),
            notices=self.notices(),
            failures=failures_to_report(state, datetime.now(UTC)),
            pinned_release=state.pinned or "",
            tallies=self.tallies.lines(),
            verdicts=self.outbox.counts("verdict"),
            cameras=self.cameras.all(),
            shadow=self.shadow.tally(),
            agent=self.software.reported(),
        )

    def as_json(self) -> dict[str, Any]:
        """The answer of `/status.json`: everything an operator may ask, and no secret."""
        state = self.updates.state
        running = self.active.get()
        return {
            "schema_version": 1,
            "device": self.config.device,
            "group": self.config.group,
            "site": self.config.site,
            "use_case": self.config.use_case,
            "state": self._state_word(state.phase, running is not None),
            "ready": self.ready(),
            "problem": self.health.problem,
            "notices": list(self.notices()),
            "release": {
                "running": running.digest if running else None,
                "version": running.release.version if running else None,
                "model_sha256": running.model.sha256 if running else None,
                "pending": state.pending,
                "previous": state.previous,
                "factory": state.factory,
                "pinned": state.pinned,
                "phase": str(state.phase),
                "since": state.since.isoformat() if state.since else None,
                "sequence_seen": state.sequence,
                "reason": self.updates.reason,
                "failed": {digest: failure.reason for digest, failure in state.failed.items()},
            },
            "shadow": self._shadow(),
            "agent": self._software(),
            "frames": {
                "inspected": self.outbox.total("frames"),
                "today": self.outbox.today(),
                "rejected": self.outbox.counts("rejected"),
                "doubted": self.outbox.counts("doubted"),
                "broken_rules": self.outbox.counts("rule"),
                "not_inspected": self.outbox.counts("not_inspected"),
                "skipped": self.outbox.total("skipped"),
                "rejected_removed": self.outbox.total("rejected_removed"),
            },
            "parts": self._parts(),
            "outbox": {
                "waiting": self.outbox.depth(),
                "bytes": self.outbox.bytes_used(),
                "in_memory": self.outbox.in_memory(),
                "dropped": self.outbox.dropped(),
                "over_quota": self.outbox.total("over_quota"),
            },
            "connections": {
                "s3": self.uploader.problem or "ok",
                "mqtt": "not configured" if self.result_publisher is None else self.result_publisher.problem or "ok",
            },
            "state_files": {"damaged": self.damaged.count(), "set_aside": list(self.damaged.names())},
            "free_bytes": self.free_bytes(),
            "uptime_s": round(time.monotonic() - self.started, 1),
            "clock": datetime.now(UTC).isoformat(),
            "time_zone": self.config.time_zone or datetime.now().astimezone().tzname(),
            "versions": versions(),
        }

    def _software(self) -> dict[str, Any]:
        """Which software of the agent runs, and why not what was ordered."""
        found = self.software.reported()
        return {
            "version": found.version,
            "slot": found.slot,
            "state": found.state,
            "release": found.release_digest,
            "wanted": found.wanted_digest,
            "image": found.image_digest,
            "reason": found.reason,
        }

    def _parts(self) -> dict[str, Any] | None:
        """The answers about parts; None where no cameras make a part."""
        if not self.config.parts:
            return None
        return {
            "open": self.outbox.open_parts(),
            "answered": self.outbox.counts("part"),
            "ended": self.outbox.counts("part_end"),
            "late": self.outbox.counts("part_late"),
            "unnamed": self.outbox.counts("part_unnamed"),
        }

    def _shadow(self) -> dict[str, Any] | None:
        """What the candidate beside the release decided; None where there is none."""
        tally = self.shadow.tally()
        if tally is None:
            return None
        return {
            "candidate": tally.release_digest,
            "since": tally.since.isoformat(),
            "frames": tally.frames,
            "disagreed": tally.disagreed,
            "skipped": tally.skipped,
            "reason": tally.reason,
        }

    def _state_word(self, phase: Phase, running: bool) -> str:
        if phase is Phase.IDLE:
            return "running" if running else "no-release"
        return str(phase)


def failures_to_report(state: State, now: datetime) -> dict[str, FailedRelease]:
    """The latest releases that were refused here, by digest. now: UTC."""
    # A refusal by an earlier agent has no time; it was there when the present phase began.
    return as_failures(state.failed, state.since or now)


def versions() -> dict[str, str]:
    """Versions of the agent and of the packages that its answers depend on, by name."""
    return {
        "agent": __version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }
