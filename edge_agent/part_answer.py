"""The answer about a whole part, of which several cameras take pictures: the rule, and its messages. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from edge_agent.result import Result
from inspection import Verdict
from inspection.acceptance import Severity
from inspection.codec import LEFT_OUT, Document, Part


class PartEnd(StrEnum):
    """Why a part got its answer."""

    COMPLETE = "complete"
    """Each of its cameras has judged it."""
    TIMEOUT = "timeout"
    """A camera did not judge it in time."""
    RESTART = "restart"
    """The agent was started again while a picture was missing, and it did not come in time."""
    TOO_MANY = "too-many-open"
    """More parts were open than the device keeps; the oldest was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPicture(Part):
    """What one camera says of a part."""

    capture_id: str
    """The result of this picture; of several pictures by one camera, the worst."""
    verdict: Verdict
    """The verdict of that result."""
    severity: Severity | None = field(default=None, metadata=LEFT_OUT)
    """The gravest severity of its broken rules; left out where none is broken."""

    @classmethod
    def of(cls, result: Result) -> Self:
        """What a result says."""
        return cls(capture_id=result.capture_id, verdict=result.verdict, severity=result.severity)


_RANK = {Verdict.PASS: 0, Verdict.NOT_INSPECTED: 1, Verdict.UNCERTAIN: 2, Verdict.FAIL: 3}
_GRAVITY = {None: 0, Severity.NOTE: 1, Severity.REWORK: 2, Severity.REJECT: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPart(Document):
    """A part that waits for pictures, as it is kept on the disk."""

    name: str
    """Which of the parts in the device's file."""
    part_id: str
    """The physical part."""
    cameras: tuple[str, ...]
    """The cameras that it needs."""
    since: datetime
    """When its first picture was judged."""
    timeout_s: float
    """Seconds of use from then on until it is answered."""
    pictures: Mapping[str, PartPicture] = field(default_factory=dict)
    """By camera."""

    def with_picture(self, camera: str, picture: PartPicture) -> OpenPart:
        """The part with one more picture. Of two by one camera, the worse one counts."""
        before = self.pictures.get(camera)
        if before is not None and _worth(before) >= _worth(picture):
            return self
        return replace(self, pictures={**self.pictures, camera: picture})

    @property
    def missing(self) -> tuple[str, ...]:
        """The cameras that have not judged it: no picture came, or what came was not inspected."""
        judged = {camera for camera, picture in self.pictures.items() if picture.verdict is not Verdict.NOT_INSPECTED}
        return tuple(camera for camera in self.cameras if camera not in judged)

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is waited for: each camera has said something, if only that it could not inspect."""
        return all(camera in self.pictures for camera in self.cameras)

    def answer(self, end: PartEnd, device: str, now: datetime) -> PartResult:
        """The one answer. A picture that fails fails the part; a missing one makes it uncertain. now: UTC."""
        verdicts = [picture.verdict for picture in self.pictures.values()]
        if Verdict.FAIL in verdicts:
            verdict = Verdict.FAIL
        elif self.missing or Verdict.UNCERTAIN in verdicts:
            verdict = Verdict.UNCERTAIN
        else:
            verdict = Verdict.PASS
        severity = max((picture.severity for picture in self.pictures.values()), key=_GRAVITY.__getitem__, default=None)
        return PartResult(
            answer_id=answer_id(device, self.name, self.part_id, self.since),
            device=device,
            part=self.name,
            part_id=self.part_id,
            since=self.since,
            decided_at=max(now, self.since),
            verdict=verdict,
            severity=severity,
            end=end,
            missing=self.missing,
            pictures=self.pictures,
        )


def answer_id(device: str, name: str, part_id: str, since: datetime) -> str:
    """An id of 32 hexadecimal digits, the same however often the answer is made."""
    text = "\n".join((device, "part", name, part_id, since.isoformat()))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartResult(Document):
    """The answer about one part, told on `<prefix>/<site>/<device>/parts`. After an outage it may arrive twice; both
    then have the same `answer_id`. Times are UTC."""

    answer_id: str
    """Names the answer; a message that comes twice has the same one."""
    device: str
    """Which device."""
    part: str
    """Which of the parts in the device's file."""
    part_id: str
    """The physical part."""
    since: datetime
    """When its first picture was judged."""
    decided_at: datetime
    """When it was answered."""
    verdict: Verdict
    """`fail` where a picture fails; else `uncertain` where one is missing or uncertain; else `pass`."""
    severity: Severity | None = field(default=None, metadata=LEFT_OUT)
    """The gravest severity of the broken rules; left out where none is broken."""
    end: PartEnd
    """Why it was answered now."""
    missing: tuple[str, ...] = ()
    """The cameras that did not judge it, by name."""
    pictures: Mapping[str, PartPicture] = field(default_factory=dict)
    """What each camera said."""

    def __post_init__(self) -> None:
        if self.verdict is Verdict.NOT_INSPECTED:
            raise ValueError("a part is pass, fail or uncertain")
        if self.missing and self.verdict is Verdict.PASS:
            raise ValueError(f"a part without the pictures of {', '.join(self.missing)} is never pass")


def _worth(picture: PartPicture) -> tuple[int, int]:
    return _RANK[picture.verdict], _GRAVITY[picture.severity]
