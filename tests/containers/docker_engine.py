"""The Docker engine through its own command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class DockerFailed(AssertionError):
    """A docker command that did not do what was asked; the message is its output."""


@dataclass(frozen=True)
class Docker:
    """command: the executable."""

    command: str

    def run(self, *arguments: str, stdin: bytes | None = None, timeout_s: float = 600, check: bool = True) -> str:
        """One docker command; returns what it printed."""
        # Without stdin of its own a child would read what is typed at the tests.
        source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(
            [self.command, *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
            **source,
        )
        output = done.stdout.decode(errors="replace")
        if check and done.returncode != 0:
            raise DockerFailed(f"docker {' '.join(arguments[:4])} … ended with {done.returncode}:\n{output[-4000:]}")
        return output.strip()
