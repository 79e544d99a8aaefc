"""The parts of a device report: what a device refused, what it counted of its releases, and how its cameras are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from inspection.codec import LEFT_OUT, Part
from inspection.paths import check_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRelease(Part):
    """A release that a device refused, or went back from."""

    reason: str
    """A fixed word, a colon and a message: `too-slow: …`."""
    at: datetime
    """When; of a refusal by an earlier agent, the latest time at which it can have been."""
    sequence: int
    """Of the desired state under which it was tried."""
    attempts: int = 1
    """How often it was tried."""
    transient: bool = False
    """Whether the device tries it again by itself: the cause may pass, such as a machine that was busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTally(Part):
    """What one release decided on the line: of its latest 2000 frames on this device.

    The frames that the release before it judged too are a share drawn by the frame's sha256, whatever the verdict.
    """

    release_digest: str
    """The release."""
    since: datetime
    """When the device began to count it."""
    frames: int
    """Frames that it judged."""
    fail: int = 0
    """How many of them got the verdict `fail`."""
    uncertain: int = 0
    """How many of them got the verdict `uncertain`."""
    not_inspected: int = 0
    """Triggers that got no verdict while it ran, besides `frames`."""
    p95_ms: float | None = None
    """95th percentile of the time of one frame, milliseconds from decoded image to verdict; null without a frame."""
    compared: int = 0
    """Frames that the former release judged too."""
    disagreed: int = 0
    """How many of those got another verdict from it."""

    def __post_init__(self) -> None:
        check_sha256(self.release_digest)
        _check_counts(self, "frames", "fail", "uncertain", "not_inspected", "compared", "disagreed")
        _check_part(self, self.frames, "fail", "uncertain")
        _check_part(self, self.compared, "disagreed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraState(Part):
    """How one camera of a device is."""

    ok: bool
    """Whether frames come, as far as the device knows."""
    reason: str = ""
    """Why none come; empty where all is well."""
    last_frame_at: datetime | None = None
    """When its latest frame was judged since the agent's start; null where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowCounts(Part):
    """How often a candidate and the running release decided what, on the frames that both judged."""

    since: datetime
    """When it began to judge here."""
    frames: int = 0
    """Frames that it judged; the running release judged them too."""
    skipped: int = 0
    """Frames of its share that it did not judge, because it had no time for them."""
    disagreed: int = 0
    """Frames on which its verdict was another one than that of the running release."""
    fail: int = 0
    """Its verdicts `fail`."""
    uncertain: int = 0
    """Its verdicts `uncertain`."""
    former_fail: int = 0
    """Verdicts `fail` of the running release on the same frames."""
    former_uncertain: int = 0
    """Verdicts `uncertain` of the running release on the same frames."""

    def __post_init__(self) -> None:
        counts = ("disagreed", "fail", "uncertain", "former_fail", "former_uncertain")
        _check_counts(self, "frames", "skipped", *counts)
        _check_part(self, self.frames, *counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTally(ShadowCounts):
    """What a candidate decided beside the running release, on the frames that both judged. It decides nothing."""

    release_digest: str
    """The candidate."""
    p95_ms: float | None = None
    """95th percentile of its time for one frame, in milliseconds; null without a frame."""
    reason: str = ""
    """Why it judges nothing at present, as a fixed word, a colon and a message; empty where it judges."""

    def __post_init__(self) -> None:
        ShadowCounts.__post_init__(self)
        check_sha256(self.release_digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState(Part):
    """The software of the agent on a device: what runs, and why not what was ordered."""

    version: str
    """The version that the running agent says of itself."""
    slot: str
    """Where it was started from: `a` or `b`, `installed` for what was installed by hand, `image` for a container."""
    state: str
    """`kept`, `probation` for new software that must still run well, `standby` where the software that should run did
    not stay up, or `fixed` where nothing here can replace it."""
    release_digest: str | None = None
    """The release of the agent that runs; null for software that came by no release."""
    wanted_digest: str | None = None
    """The release of the agent that was ordered for this device; null for none."""
    image_digest: str = ""
    """The image that a container was started from, as the device was told; empty where it was not."""
    reason: str = ""
    """Why what was ordered does not run, as a fixed word, a colon and a message; empty where all is well."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """The releases of the agent that were refused here, by digest, and why."""
    failures: Mapping[str, FailedRelease] | None = field(default=None, metadata=LEFT_OUT)
    """The same with the order under which each was tried, and how often; left out by an agent that does not say it."""
    slots: Mapping[str, str] | None = field(default=None, metadata=LEFT_OUT)
    """What each slot holds, by digest: the software that runs, and that to which the device may go back; left out by an
    agent that does not say it."""

    def needed(self) -> frozenset[str]:
        """The releases of the agent that this device runs, was asked to run, or may go back to."""
        named = (self.release_digest, self.wanted_digest, *(self.slots or {}).values())
        return frozenset(digest for digest in named if digest)


def _check_counts(of: Part, *names: str) -> None:
    for name in names:
        if getattr(of, name) < 0:
            raise ValueError(f"{name} is a number of frames, 0 or more, but got {getattr(of, name)}")


def _check_part(of: Part, whole: int, *names: str) -> None:
    for name in names:
        if getattr(of, name) > whole:
            raise ValueError(f"{name} counts some of {whole} frames, but got {getattr(of, name)}")
