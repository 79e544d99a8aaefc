"""What an acceptance run saw, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended."""

    HELD = "held"
    FAILED = "FAILED"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Row:
    """One check. seconds: how long it took. said: what was seen, or why it failed or was left out; one line."""

    check: str
    outcome: Outcome
    seconds: float
    said: str = ""


def markdown(about: Sequence[str], rows: Sequence[Row]) -> str:
    """The table for `docs/benchmarks.md`. about: lines about the cluster, above the table."""
    lines = [f"- {line}" for line in about]
    lines += ["", "| Check | Outcome | s | Seen |", "|---|---|---:|---|"]
    for row in rows:
        said = " ".join(row.said.split()).replace("|", "\\|")
        lines.append(f"| {row.check} | {row.outcome} | {row.seconds:.0f} | {said} |")
    count = {outcome: sum(row.outcome is outcome for row in rows) for outcome in Outcome}
    lines += ["", ", ".join(f"{number} {outcome}" for outcome, number in count.items())]
    return "\n".join(lines)
