"""The ends of campaigns in a file, a line each, so that a run of an hour that is stopped goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.fleet.campaign import Ended
from inspection.rollout import RolloutState

Key = tuple[str, int]
"""The kind of the release, and the number of the campaign."""


def note_ended(file: Path, devices: int, kind: str, number: int, ended: Ended, took_s: float) -> None:
    """Add a campaign. took_s: seconds of the whole run until then."""
    line = {"devices": devices, "kind": kind, "number": number, "run_s": took_s, **asdict(ended)}
    with file.open("a", encoding="utf-8") as found:
        found.write(json.dumps(line) + "\n")


def read_ended(file: Path, devices: int) -> dict[Key, tuple[Ended, float]]:
    """The campaigns over so many devices that have ended, each with the seconds of the run until then.

    A line that a kill cut off is left out.
    """
    found: dict[Key, tuple[Ended, float]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if value.pop("devices") == devices:
            key, run_s = (value.pop("kind"), value.pop("number")), value.pop("run_s")
            found[key] = (Ended(**{**value, "state": RolloutState(value["state"])}), run_s)
    return found
