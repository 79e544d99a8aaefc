"""Which release a device should take now, or why it should take none: a rule over values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from edge_agent import __version__
from edge_agent.ota.refusal import Refusal, may_try, what_it_waits_for
from inspection import DesiredState


@dataclass(frozen=True, slots=True)
class Take:
    """Fetch and try this release. again: somebody asked for it again after it was refused here."""

    digest: str
    sequence: int
    probation_s: float
    again: bool = False


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
    failed: Mapping[str, Refusal],
    now: datetime,
    pinned: str | None = None,
    agent_version: str = __version__,
) -> Take | Keep:
    """Decide which release `device` should take.

    Args:
        desired: the desired state of the device's group; None where none was published.
        sequence_seen: the highest sequence that this device has accepted; a state with a lower one is old, and refused.
        running: the digest of the release that inspects.
        failed: what is remembered of releases that were refused here, by digest; `refusal.may_try` says until when.
        now: UTC.
        pinned: the release that the operator wants; nothing else is taken.
        agent_version: of this agent.
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
    refusal = failed.get(digest)
    if refusal is not None and not may_try(refusal, now, agent_version, asked_since=desired.asked_since):
        return Keep("failed-before", what_it_waits_for(refusal), desired.sequence)
    again = refusal is not None and refusal.sequence < desired.asked_since
    return Take(digest, desired.sequence, desired.probation_s, again)
