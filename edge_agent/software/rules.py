"""Which software of the agent a device takes, and whether new software is well: rules over values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from edge_agent import STATE_VERSION, __version__
from edge_agent.ota.refusal import may_try, what_it_waits_for
from edge_agent.software.state import SoftwareState
from inspection import AgentOrder
from inspection.agent_release import AgentRelease, version_numbers

PATIENCE_S: Final = 3600.0
"""How long new software may run without being well enough to be kept; then the software before comes back."""


@dataclass(frozen=True, slots=True)
class Launched:
    """What started this agent. slot: `a`, `b` or `installed`.

    launcher: its version. python, python_version: what starts a slot. machine: the processor.
    """

    slot: str
    launcher: int
    python: str
    python_version: str
    machine: str


@dataclass(frozen=True, slots=True)
class Install:
    """Take this release of the agent."""

    digest: str


@dataclass(frozen=True, slots=True)
class Stay:
    """Keep the software that runs. reason: empty where it is the one that was ordered, or none was ordered."""

    reason: str = ""


def choose(
    order: AgentOrder | None, *, device: str, running: str, state: SoftwareState, now: datetime
) -> Install | Stay:
    """Decide which software to take. running: the slot that runs. now: UTC."""
    digest = order.release_for(device) if order is not None else None
    if order is None or digest is None or digest == state.digest_of(running):
        return Stay()
    if running != state.active and digest == state.digest_of(state.active) and order.since <= state.since:
        return Stay(f"standby: the software in slot {state.active} did not stay up, so the one before runs")
    refusal = state.refused.get(digest)
    if refusal is not None and not may_try(refusal, now, __version__, asked_since=order.since):
        return Stay(f"refused-before: {what_it_waits_for(refusal, 'kizu agent order --again')}")
    return Install(digest)


def unfit(release: AgentRelease, launched: Launched, needed: str) -> str:
    """Why this device cannot take a release of the agent, as a fixed word, a colon and a message; empty where it can.

    needed: `min_agent_version` of the release that inspects; `0` for none.
    """
    if version_numbers(release.version) < version_numbers(needed):
        return f"too-old: the release that inspects needs agent {needed} or newer, and this is {release.version}"
    if release.min_launcher > launched.launcher:
        return (
            f"newer-launcher-needed: it needs launcher {release.min_launcher}, and this device has {launched.launcher}"
        )
    if release.state_version > STATE_VERSION:
        return (
            f"no-way-back: it writes the state folder in form {release.state_version}, and this agent reads up to form "
            f"{STATE_VERSION}; order a release between the two first"
        )
    if release.build_for(launched.python_version, launched.machine) is None:
        return f"no-build: it has no wheels for Python {launched.python_version} on {launched.machine}"
    return ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What new software has shown since it was started.

    inspects: a release is loaded, or there was none to load. contact: the signed metadata were read. problem: why no
    frame is inspected at present; empty where all is well.
    """

    elapsed_s: float
    silent_s: float
    inspects: bool
    contact: bool
    problem: str = ""


def judge(seen: Seen, *, probation_s: float, heartbeat_timeout_s: float, patience_s: float = PATIENCE_S) -> str | None:
    """Whether new software is kept: empty text where it is, the reason to go back, or None where it must go on.

    A camera that fails does not count against the software until its patience ends: it may have failed before.
    """
    if seen.silent_s > heartbeat_timeout_s:
        return f"unhealthy: the inspection loop was silent for {seen.silent_s:.0f} s"
    missing = what_is_missing(seen)
    if seen.elapsed_s >= probation_s and not missing:
        return ""
    if seen.elapsed_s >= max(patience_s, probation_s):
        return missing
    return None


def what_is_missing(seen: Seen) -> str:
    """What new software lacks to be kept, but time; empty for nothing."""
    if not seen.inspects:
        return "no-release: it does not load the release that inspected before"
    if not seen.contact:
        return "no-contact: it has not read the signed metadata since it was started"
    return f"no-frames: {seen.problem}" if seen.problem else ""
