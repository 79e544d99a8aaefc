"""Which release a device should take now, or why it should take none: a rule over values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inspection import DesiredState


@dataclass(frozen=True, slots=True)
class FailedRelease:
    """A release that failed on this device, and the sequence of the desired state under which it was tried."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Take:
    """Fetch and try this release."""

    digest: str
    sequence: int
    probation_s: float


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep the present release. sequence: of the desired state, to remember; None where that state was refused."""

    reason: str
    message: str
    sequence: int | None


def choose(
    desired: DesiredState | None,
    *,
    device: str,
    use_case: str,
    sequence_seen: int,
    running: str | None,
    failed: Mapping[str, FailedRelease],
    pinned: str | None = None,
) -> Take | Keep:
    """Decide which release `device` should take.

    Args:
        desired: the desired state of the device's group; None where none was published.
        sequence_seen: the highest sequence that this device has accepted; a state with a lower one is old, and refused.
        running: the digest of the release that inspects.
        failed: releases that failed here, by digest; each is tried again only under a higher sequence.
        pinned: the release that the operator wants; nothing else is taken.
    """
    if desired is None:
        return Keep("no-desired-state", "nothing was published for this group yet", None)
    if desired.use_case != use_case:
        message = f"the group's desired state is for {desired.use_case!r}, but this device inspects {use_case!r}"
        return Keep("other-use-case", message, None)
    if desired.sequence < sequence_seen:
        message = f"sequence {desired.sequence} is lower than {sequence_seen}, which was seen before"
        return Keep("rolled-back-sequence", message, None)
    digest = desired.release_for(device)
    if pinned is not None and digest != running:
        return Keep("pinned", f"to {pinned[:12]} by the operator", desired.sequence)
    if digest is None:
        return Keep("not-in-a-wave", "no wave includes this device yet", desired.sequence)
    if digest == running:
        return Keep("up-to-date", "", desired.sequence)
    failure = failed.get(digest)
    if failure is not None and desired.sequence <= failure.sequence:
        return Keep("failed-before", failure.reason, desired.sequence)
    return Take(digest, desired.sequence, desired.probation_s)
