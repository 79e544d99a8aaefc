"""What a device remembers of a release that it refused, and when it may try that release again: rules over values.

A cause has one of three kinds. A *transient* cause says nothing certain about the release: the machine was busy, or the
power was cut. Such a release is tried again, after waits that double, up to a number of tries. A cause of the *agent*
ends with the version of the agent that met it. A *permanent* cause stays until somebody asks for the release again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from inspection.report_parts import FailedRelease

TRIES: Final = 10
"""How often a release is tried in all, where each cause is transient."""
FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(hours=6)
_MOST_REPORTED: Final = 20
_LONGEST_REASON: Final = 300
"""Characters of a reason in the device report."""

BY_OPERATOR: Final = "rolled back by the operator"
STOPPED: Final = "agent-stopped"
STOPPED_OFTEN: Final = "stopped-often"
VERDICT_SHARE: Final = "verdict-share"


class Kind(StrEnum):
    """What ends a refusal, beside somebody who asks for the release again."""

    TRANSIENT = "transient"
    AGENT = "agent-version"
    PERMANENT = "permanent"


_TRANSIENT: Final = frozenset(
    {
        "too-slow",
        "slower-than-before",
        "too-much-memory",
        "trial-crashed",
        "trial-too-long",
        "damaged",
        "missed-heartbeat",
        "no-contact",
        STOPPED,
        STOPPED_OFTEN,
    }
)
_IN_A_TRIAL_OF_SOFTWARE: Final = "release-"
"""With this before it, a word says what the release that inspects met in the trial of new software."""
_OF_THE_AGENT: Final = frozenset(
    {"newer-agent-needed", "unreadable-release", "unusable-model", "unusable-release", "internal"}
)


def kind_of(reason: str) -> Kind:
    """The kind of a cause, by the fixed word that its reason begins with.

    >>> kind_of("too-slow: 900 ms a frame here")
    <Kind.TRANSIENT: 'transient'>
    """
    word = reason.partition(":")[0]
    # Agents of the first state file wrote a sentence instead of a word where the agent had stopped without warning.
    if word.removeprefix(_IN_A_TRIAL_OF_SOFTWARE) in _TRANSIENT or word.startswith("the agent stopped"):
        return Kind.TRANSIENT
    return Kind.AGENT if word in _OF_THE_AGENT else Kind.PERMANENT


@dataclass(frozen=True, slots=True)
class Refusal:
    """One release that was refused here.

    Args:
        sequence: of the desired state under which it was tried.
        attempts: how often it was tried.
        next_at: when a transient cause may be tried again, UTC; None for at once.
        agent_version: of the agent that refused it; empty in a state file of an earlier agent.
        at: when it was refused last, UTC, for people; None in a state file of an earlier agent.
    """

    sequence: int
    reason: str
    kind: Kind = Kind.PERMANENT
    attempts: int = 1
    next_at: datetime | None = None
    agent_version: str = ""
    at: datetime | None = None


def refuse(before: Refusal | None, reason: str, *, sequence: int, now: datetime, agent_version: str) -> Refusal:
    """The memory after one more failure. before: what was remembered of this release.

    Only transient failures of the same agent in a row are added up: another cause begins to count anew.
    """
    kind = kind_of(reason)
    goes_on = before is not None and before.kind is kind and before.agent_version == agent_version
    attempts = before.attempts + 1 if before is not None and goes_on else 1
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempts - 1))
    next_at = now + wait if kind is Kind.TRANSIENT else None
    return Refusal(sequence, reason, kind, attempts, next_at, agent_version, now)


def may_try(refusal: Refusal, now: datetime, agent_version: str, *, asked_since: int) -> bool:
    """Whether a release may be tried again.

    Args:
        now: UTC. A clock that jumps neither forbids a try for ever nor allows more than `TRIES` of them.
        agent_version: of this agent.
        asked_since: the sequence under which somebody asked for the release last.
    """
    if refusal.sequence < asked_since:
        return True
    if refusal.kind is Kind.AGENT:
        return refusal.agent_version != agent_version
    if refusal.kind is Kind.PERMANENT or refusal.attempts >= TRIES:
        return False
    # A time that is further away than any wait was written by a clock that was ahead.
    return refusal.next_at is None or not now < refusal.next_at <= now + LONGEST_WAIT


def what_it_waits_for(refusal: Refusal, again: str = "kizu deploy --again") -> str:
    """The reason of a refusal with what ends it, as one line. again: the command that orders it anew."""
    if refusal.kind is Kind.AGENT:
        return f"{refusal.reason}; it is tried again by another version of the agent"
    if refusal.kind is Kind.TRANSIENT and refusal.attempts < TRIES and refusal.next_at is not None:
        when = refusal.next_at.strftime("%Y-%m-%d %H:%M UTC")
        return f"{refusal.reason}; tried {refusal.attempts} of {TRIES} times, again at {when}"
    tried = f"; tried {refusal.attempts} times" if refusal.attempts > 1 else ""
    return f"{refusal.reason}{tried}; to have it tried again, run: {again}"


def as_failures(refused: Mapping[str, Refusal], at_the_latest: datetime) -> dict[str, FailedRelease]:
    """The latest refusals as a device reports them, by digest.

    at_the_latest: the time of a refusal by an earlier agent, which noted none.
    """
    found = {
        digest: FailedRelease(
            reason=refusal.reason[:_LONGEST_REASON],
            at=refusal.at or at_the_latest,
            sequence=refusal.sequence,
            attempts=refusal.attempts,
            transient=refusal.kind is Kind.TRANSIENT,
        )
        for digest, refusal in refused.items()
    }
    latest = sorted(found, key=lambda digest: (found[digest].sequence, found[digest].at))[-_MOST_REPORTED:]
    return {digest: found[digest] for digest in latest}
