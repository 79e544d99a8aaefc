"""What an operator may tell a device about its releases: roll back, pin, unpin.

There is one rule for both ways to give a command: a running agent applies it to its own state (`driver.Updates.obey`),
and `kizu-edge` applies it to the state file where no agent runs (`by_operator`). Both refuse for the same reasons, in
the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from edge_agent.errors import AlreadyLeft, StateError
from edge_agent.ota.activation import Act, Pinned, RolledBack, State, Unpinned, decide

Action = Literal["rollback", "pin", "unpin"]

REASON: Final[Mapping[Action, str]] = {
    "rollback": "rolled back by the operator",
    "pin": "pinned by the operator",
    "unpin": "unpinned",
}
"""What the device reports as its reason after each action."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Args:
        digest: the release to pin, or the release that a rollback leaves; None for the one that runs. A rollback that
            names the release may be given twice: the second time it is refused, since another release runs.
    """

    action: Action
    digest: str | None = None


def obey(state: State, command: Command, now: datetime, running: str | None = None) -> tuple[State, Act]:
    """The state after a command, and what the agent does once that state is on disk.

    Pinning the release that is pinned already, and unpinning where nothing is pinned, change nothing and succeed. A
    pin ends an update that is under way, at any step.

    Args:
        now: UTC.
        running: the release that inspects; None for the one that the state names.

    Raises:
        StateError: the command cannot be carried out; the message says why.
    """
    if command.action == "unpin":
        return decide(state, Unpinned(), now)
    running = running or state.running
    if command.action == "rollback":
        if command.digest is not None and command.digest != running:
            now_runs = f"release {running[:12]} runs now" if running else "no release runs"
            raise AlreadyLeft(f"release {command.digest[:12]} is left already: {now_runs}; nothing was changed")
        after, act = decide(state, RolledBack(), now)
        if after == state:
            raise StateError("there is no earlier release on this device to go back to")
        return after, act
    digest = command.digest or state.running
    if digest is None:
        raise StateError("there is no release on this device that could be pinned")
    after, act = decide(state, Pinned(digest), now)
    if after == state and state.pinned != digest:
        if digest == state.pending:
            raise StateError(f"release {digest[:12]} is still being fetched and tried; pin it when it runs")
        kept = ", ".join(sorted(item[:12] for item in state.kept)) or "none"
        raise StateError(f"expected one of the releases kept on this device ({kept}), but got {digest[:12]}")
    return after, act


def describe(running: str | None, pinned: str | None) -> str:
    """Which release runs after a command, as one line for the operator."""
    if running is None:
        return "no release runs"
    return f"release {running[:12]} runs" + (", pinned" if pinned == running else "")
