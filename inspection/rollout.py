"""The plan of a rollout, a part of a desired state: which devices get a release first, and what each stage asks.

A release and the agent's own software have plans of the same form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from inspection.codec import LEFT_OUT, Part

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class RolloutState(StrEnum):
    """How a rollout stands."""

    RUNNING = "running"
    """The reconciler opens the next stage as soon as the open one has what it asks."""
    PAUSED = "paused"
    """Nothing is opened until a person resumes or stops it."""
    STOPPED = "stopped"
    """It has failed or was taken back: all devices are asked to run the former release."""
    DONE = "done"
    """Every stage has had what it asked."""
    PINNED = "pinned"
    """A person wants this release: no other one is rolled out until they resume."""
    WAITING = "waiting"
    """No stage is open yet, because the rollout of a release comes first. Only the agent's software waits so."""


class PausedFor(StrEnum):
    """Why a rollout is paused, which decides what `resume` means."""

    PERSON = "person"
    """Somebody paused it. The open stage is judged again after `resume`."""
    BY_HAND = "by-hand"
    """The open stage is complete, and the policy asks a person before the next."""
    INCONCLUSIVE = "inconclusive"
    """The reports do not tell whether the release is worse than the former one. `resume` goes on without knowing."""


class NotComparable(StrEnum):
    """What follows where the former release has counted too few frames to compare with."""

    PAUSE = "pause"
    """A person decides whether the next stage is opened without a comparison."""
    CONTINUE = "continue"
    """The next stage is opened, and the decision says that nothing was compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Part):
    """One stage of a rollout, and what it must show before the next is opened.

    A device belongs to the stage if it is named, or if its hash lies below `percent`; see `Wave.includes`. Shares are
    0..1.
    """

    percent: float = 0.0
    """The share of the group, in per cent, that has the release from this stage on. 0: the named devices alone."""
    devices: tuple[str, ...] = ()
    """Devices that have the release from this stage on, whatever their hash."""
    min_executed: int = 1
    """Devices that must have succeeded or failed; all of the stage, where it has fewer."""
    success_share: float = 0.9
    """Least share of the stage's devices, late ones left out, that must have succeeded."""
    failure_share: float = 0.1
    """The rollout stops where more than this share has failed."""
    min_s: float = 0.0
    """Least time, in seconds, that the stage is open."""
    min_frames: int = 0
    """Frames that the stage's devices must have inspected with the release, in all."""
    by_hand: bool = False
    """A person must resume the rollout before the next stage is opened."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.percent <= 100.0:
            raise ValueError(f"percent lies in 0..100, but got {self.percent}")
        if not 0.0 <= self.success_share <= 1.0 or not 0.0 <= self.failure_share <= 1.0:
            raise ValueError(f"shares lie in 0..1, but got {self.success_share}, {self.failure_share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineBounds(Part):
    """How much worse than the former release a release may be on the line, from what devices report.

    Each bound is compared with a 95 % interval: the rollout stops where the whole interval lies above the bound, and
    pauses where the bound lies within it. A share of 1 judges nothing.
    """

    fail_change: float = 1.0
    """By how much the share of *fail* may rise or fall."""
    fail_fall: float = 1.0
    """By which part of itself the share of *fail* may fall: a network that finds nothing lets every defect pass."""
    review_change: float = 1.0
    """By how much the share of *uncertain* may rise."""
    disagreement: float = 1.0
    """The share of frames on which both releases may decide otherwise."""
    latency_ratio: float = 1000.0
    """How many times as long as before a frame may take (95th percentile, in the middle of the devices)."""
    min_frames: int = 200
    """Frames of each release, over all devices, without which nothing is compared."""
    when_not_comparable: NotComparable = field(default=NotComparable.CONTINUE, metadata=LEFT_OUT)
    """What follows where the former release has fewer on the devices of the open stages, and no more will come; left
    out in plans that do not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Part):
    """A time of the week in which a stage may be opened. An end before the start lies on the next day."""

    days: tuple[str, ...] = DAYS
    """On which days it starts: `mon` to `sun`."""
    start: str = "00:00"
    """Hour and minute, 24 hours."""
    end: str = "00:00"
    """Hour and minute; the same as `start` means a whole day."""

    def __post_init__(self) -> None:
        unknown = [day for day in self.days if day not in DAYS]
        if unknown or not self.days:
            raise ValueError(f"expected days of {', '.join(DAYS)}, but got {list(self.days)}")
        for clock in (self.start, self.end):
            if not _CLOCK.fullmatch(clock):
                raise ValueError(f"expected a time of day as HH:MM, but got {clock!r}")

    def includes(self, at: datetime) -> bool:
        """Whether a local time lies in the window."""
        start, end = time.fromisoformat(self.start), time.fromisoformat(self.end)
        today, yesterday = DAYS[at.weekday()], DAYS[(at - timedelta(days=1)).weekday()]
        now = at.time()
        if start < end:
            return today in self.days and start <= now < end
        return (today in self.days and now >= start) or (yesterday in self.days and now < end)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPlan(Part):
    """How something that is released reaches a group stage by stage, and how far it has come. Times are UTC."""

    release_digest: str
    """The release that is rolled out."""
    former_digest: str | None
    """The release that devices run until their stage is open, and go back to; null where there was none."""
    stages: tuple[Stage, ...]
    """In the order in which they are opened; the canary devices first."""
    open_stage: int
    """The index of the last stage that is open."""
    opened_at: datetime
    """When it was opened."""
    began_at: datetime
    """When the rollout began."""
    state: RolloutState = RolloutState.RUNNING
    """How it stands."""
    paused_for: PausedFor | None = None
    """Why it is paused."""
    go_on: bool = False
    """A person has said that the open stage is good enough to go on."""
    reason: str = ""
    """Why it is paused, stopped or pinned."""
    by: str = ""
    """Who did that: an account, or `reconciler`."""
    devices: tuple[str, ...] = ()
    """The devices that a stop names."""
    windows: tuple[Window, ...] = ()
    """When a stage may be opened; empty: at any time."""
    time_zone: str = "UTC"
    """The zone of the windows. A device does not read it: it may lack the data of zones."""

    def __post_init__(self) -> None:
        if not 0 <= self.open_stage < len(self.stages):
            raise ValueError(f"a rollout has its open stage among its {len(self.stages)}, but got {self.open_stage}")

    @property
    def stage(self) -> Stage:
        """The open stage."""
        return self.stages[self.open_stage]

    @property
    def is_last(self) -> bool:
        """Whether no stage is left to open."""
        return self.open_stage == len(self.stages) - 1

    @property
    def opens_more(self) -> bool:
        """Whether it has begun, and has stages left that it may open."""
        return self.state in (RolloutState.RUNNING, RolloutState.PAUSED) and not self.is_last

    @property
    def wanted(self) -> str | None:
        """The release that the whole group should run in the end; None where that is none."""
        return self.former_digest if self.state is RolloutState.STOPPED else self.release_digest

    def open_stages(self) -> tuple[Stage, ...]:
        """The stages that are open."""
        return () if self.state is RolloutState.WAITING else self.stages[: self.open_stage + 1]

    def named(self) -> tuple[str, ...]:
        """The devices that have the release by name, of all open stages."""
        return tuple(dict.fromkeys(name for stage in self.open_stages() for name in stage.devices))

    def percent(self) -> float:
        """The share of the group, in per cent, that has the release by hash."""
        return max((stage.percent for stage in self.open_stages()), default=0.0)

    def may_open(self, now: datetime) -> bool:
        """Whether a stage may be opened now."""
        local = now.astimezone(zone_of(self.time_zone))
        return not self.windows or any(window.includes(local) for window in self.windows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan(StagedPlan):
    """How a release reaches a group, and how far it has come. Times are UTC."""

    version: int
    """The release's version in MLflow."""
    line: LineBounds = LineBounds()
    """How much worse than the former release it may be on the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwarePlan(StagedPlan):
    """How a release of the agent's own software reaches a group, and how far it has come. Times are UTC.

    Its digests name releases of the agent, and no stage of it asks for frames.
    """

    version: str
    """The version of the software."""


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name; raises ValueError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ValueError(f"expected a time zone such as Asia/Tokyo, but got {name!r}") from e
