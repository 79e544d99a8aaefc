"""Waits for a child process that tries something and says at its end how it went."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edge_agent.errors import EdgeError, Interrupted

_LOOK_S: Final = 0.2


class TooLong(Exception):
    """The child did not end in its time, and was ended."""


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child ended by itself. code: its exit code, negative for a signal."""

    output: bytes
    errors: bytes
    code: int

    @property
    def last_words(self) -> str:
        """The end of what it wrote to its standard error."""
        return self.errors.decode(errors="replace").strip()[-300:]


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    stop: threading.Event,
    timeout_s: float,
    what: str,
    look: Callable[[int], None] = lambda pid: None,
) -> ChildEnd:
    """Run a child process to its end. It does not outlive this call, whatever is raised.

    Args:
        environment: all variables of the child.
        stop: ends the child when it is set.
        what: what the child is, for errors, such as `trial`.
        look: is called with the child's process id a few times a second; what it raises ends the child.

    Raises:
        TooLong: it did not end in `timeout_s`.
        Interrupted: `stop` was set.
        EdgeError: it could not be started.
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
        )
    except OSError as e:
        raise EdgeError(f"cannot start a {what}: {e}") from e
    with child:
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    output, errors = child.communicate(timeout=_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    if stop.is_set():
                        raise Interrupted(f"the {what} was ended from outside") from None
                    look(child.pid)
                    if time.monotonic() > deadline:
                        raise TooLong from None
        except BaseException:
            child.kill()
            raise
    return ChildEnd(output, errors, child.returncode)
