"""Which frames the device sends back, and why: the rule over the release's sampling policy, without I/O."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from inspection import ClassThreshold, Inspection, Reason, Sampling, Verdict
from inspection.picture import PictureProblem

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86400.0


class Limits(Protocol):
    """The limits of a device's configuration; None where the release decides alone."""

    @property
    def max_per_minute(self) -> int | None: ...  # noqa: D102
    @property
    def max_per_hour(self) -> int | None: ...  # noqa: D102
    @property
    def max_per_day(self) -> int | None: ...  # noqa: D102
    @property
    def nothing_found_rate(self) -> float | None: ...  # noqa: D102
    @property
    def control_rate(self) -> float | None: ...  # noqa: D102
    @property
    def disagreement_rate(self) -> float | None: ...  # noqa: D102


def tightened(policy: Sampling, limits: Limits) -> Sampling:
    """The policy of the release within the limits of the device, which may send less than asked for and never more."""

    def least(name: str) -> float:
        wanted, limit = getattr(policy, name), getattr(limits, name)
        return float(wanted if limit is None else min(wanted, limit))

    return replace(
        policy,
        nothing_found_rate=least("nothing_found_rate"),
        control_rate=least("control_rate"),
        disagreement_rate=least("disagreement_rate"),
        max_per_minute=int(least("max_per_minute")),
        max_per_hour=int(least("max_per_hour")),
        max_per_day=int(least("max_per_day")),
    )


def reason_to_send(
    inspection: Inspection, thresholds: Mapping[str, ClassThreshold], sampling: Sampling, sha256: str
) -> Reason | None:
    """Why a frame should be sent back; None where it should not.

    The random choices depend on the sha256 of the frame only. A frame that is inspected again after a crash therefore
    gets the same answer, and every choice can be checked later.

    Args:
        inspection: with detections from `sampling.uncertain_low` on (`score_floor`).
        sha256: of the bytes of the image.
    """
    # Drawn before anything else: only then do control frames represent the line, its doubtful frames among them.
    if share("control", sha256) < sampling.control_rate:
        return Reason.CONTROL
    if inspection.problem is PictureProblem.FROZEN:
        return None  # these bytes were seen before
    if inspection.verdict is Verdict.UNCERTAIN:
        return Reason.UNCERTAIN
    if any(sampling.uncertain_low <= found.score <= sampling.uncertain_high for found in inspection.detections):
        return Reason.UNCERTAIN
    nothing = not any(found.score >= thresholds[found.class_name].uncertain for found in inspection.detections)
    if nothing and share("nothing-found", sha256) < sampling.nothing_found_rate:
        return Reason.NOTHING_FOUND
    return None


def share(draw: str, sha256: str) -> float:
    """A number in [0, 1), fixed for a draw and a frame, and independent between draws.

    Args:
        draw: names the choice that the number is for, such as `control`.
    """
    return int.from_bytes(hashlib.sha256(f"{draw}:{sha256}".encode()).digest()[:8]) / 2**64


class Quota:
    """Limits the frames sent back in any minute, hour and day."""

    def __init__(self) -> None:
        self._taken: deque[float] = deque()

    def take(self, policy: Sampling, now: float) -> bool:
        """Count one more frame where it is within the limits of the policy; whether it is.

        Args:
            now: seconds, by a clock that never jumps.
        """
        while self._taken and now - self._taken[0] >= _DAY_S:
            self._taken.popleft()
        windows = ((_MINUTE_S, policy.max_per_minute), (_HOUR_S, policy.max_per_hour), (_DAY_S, policy.max_per_day))
        for length_s, limit in windows:
            # Over the limit where the frame `limit` places back still lies inside the window.
            if limit <= 0 or (len(self._taken) >= limit and now - self._taken[-limit] < length_s):
                return False
        self._taken.append(now)
        return True
