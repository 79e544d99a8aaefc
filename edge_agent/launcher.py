"""Starts the agent of the slot that is due, and goes back where new software does not stay up.

This file is the part of the device that releases of the agent do not replace. It is copied to the device as it is, so
it imports the standard library only. It decides, writes the decision, and becomes the agent (`exec`): the service
manager watches one process.

    python3 launcher.py --state /var/lib/kizu-edge --installed /opt/kizu/.venv-edge/bin/python -- run --config …

`<state>/agent/state.json` says which slot is `active`, which was active before (`previous`), and which new one is on
`trial`. `<state>/agent/slots/<slot>/` holds a slot. The agent writes that file while it runs; the launcher writes it
before, so that the two never write at once. Where nothing else can be started, it starts what was installed by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

VERSION: Final = 1
"""What this launcher can do; a release of the agent names the oldest that it needs."""
INSTALLED: Final = "installed"
MAX_TRIALS: Final = 3
"""How often new software is started that does not say that it is well."""
MAX_STARTS: Final = 5
"""How often in a row software that was kept is started before another slot takes its turn."""
ALARM_S: Final = 600
"""Seconds after which the kernel ends new software that gives no sign of life. `exec` keeps the alarm; the agent sets
it anew while it judges itself, and clears it when it is kept."""


@dataclass(frozen=True, slots=True)
class Start:
    """What is started: a slot, the state that says so, and whether it is on trial."""

    slot: str
    state: dict[str, Any]
    trial: bool = False


def next_start(before: Mapping[str, Any], usable: Callable[[str], bool]) -> Start:
    """Decide what to start.

    New software is started up to `MAX_TRIALS` times. It ends the count itself, by being kept or refused. Software that
    was kept clears the count once it runs well; where it does not, the slot before and what was installed take turns.

    Args:
        before: the state on disk; empty where there is none. Keys that are not known here stay.
        usable: whether a slot holds whole software for the Python of this launcher.
    """
    state = dict(before)
    trial, starts = state.get("trial"), _count(state.get("starts"))
    if trial is not None and starts < MAX_TRIALS and usable(str(trial)):
        return Start(str(trial), state | {"starts": starts + 1}, trial=True)
    if trial is not None:
        slots = state.get("slots")
        digest = slots.get(trial) if isinstance(slots, dict) else None
        why = f"did-not-stay-up: started {starts} times" if starts >= MAX_TRIALS else "damaged: it cannot be started"
        state |= {"trial": None, "starts": 0, "gave_up": {"digest": digest, "reason": why} if digest else None}
        starts = 0
    known = [state.get("active"), state.get("previous"), INSTALLED]
    order = list(dict.fromkeys(slot for slot in known if isinstance(slot, str) and usable(slot)))
    return Start(order[starts // MAX_STARTS % len(order)], state | {"starts": starts + 1})


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def read_state(path: Path) -> dict[str, Any]:
    """The state on disk; empty where there is none, or none that can be read: the agent sets a damaged file aside."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the state in one step, durable when this returns. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(state, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def python_version() -> str:
    """The version of this Python as a build names it: `3.11`."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def is_usable(folder: Path, slot: str) -> bool:
    """Whether a slot is complete, and for this Python. What was installed by hand always counts as usable."""
    if slot == INSTALLED:
        return True
    if slot not in ("a", "b"):
        return False
    place = folder / "slots" / slot
    try:
        return (place / "python").read_text(encoding="ascii").strip() == python_version() and (
            place / "agent.json"
        ).is_file()
    except (OSError, ValueError):
        return False


def _is_whole(folder: Path, broken: frozenset[str], slot: str) -> bool:
    return slot not in broken and is_usable(folder, slot)


def decide(
    folder: Path,
    usable: Callable[[str], bool],
    write: Callable[[Path, Mapping[str, Any]], None] = write_state,
) -> Start:
    """Decide, and write the decision. New software is not tried where that fails: it could then be tried for ever."""
    file = folder / "state.json"
    before = read_state(file)
    start = next_start(before, usable)
    if not before or start.state == before:
        return start
    try:
        write(file, start.state)
    except OSError as e:
        _say(f"cannot write {file}: {e}")
        if start.trial:
            return next_start({**before, "trial": None, "starts": 0}, usable)
    return start


def command(slot: str, installed: str, arguments: Sequence[str]) -> list[str]:
    """What is executed for a slot. -S: no packages but those of the slot. -P: none of the present folder."""
    if slot == INSTALLED:
        return [installed, "-m", "edge_agent", *arguments]
    return [sys.executable, "-S", "-P", "-m", "edge_agent", *arguments]


def environment(folder: Path, slot: str, before: Mapping[str, str]) -> dict[str, str]:
    """The variables of the agent: where its packages are, and what started it."""
    found = {name: value for name, value in before.items() if name != "PYTHONPATH" or slot == INSTALLED}
    if slot != INSTALLED:
        found["PYTHONPATH"] = str(folder / "slots" / slot / "site")
    return found | {
        "KIZU_LAUNCHER_SLOT": slot,
        "KIZU_LAUNCHER_VERSION": str(VERSION),
        "KIZU_LAUNCHER_PYTHON": sys.executable,
        "KIZU_LAUNCHER_PYTHON_VERSION": python_version(),
    }


def _say(text: str) -> None:
    sys.stderr.write(f"kizu-edge launcher: {text}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the agent that is due. Returns only where nothing could be started."""
    parser = argparse.ArgumentParser(description="Start the agent of the slot that is due.")
    parser.add_argument("--state", type=Path, required=True, help="the agent's state folder")
    parser.add_argument("--installed", required=True, help="the Python of the agent that was installed by hand")
    parser.add_argument("--peek", action="store_true", help="count nothing, as for a command beside the service")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="-- and the arguments of kizu-edge")
    given = parser.parse_args(arguments)
    words = [word for number, word in enumerate(given.arguments) if number or word != "--"]
    folder = given.state.absolute() / "agent"
    broken: set[str] = set()
    while True:
        usable = partial(_is_whole, folder, frozenset(broken))
        if given.peek:
            start = next_start(read_state(folder / "state.json"), usable)
        else:
            start = decide(folder, usable)
            _say(f"starting {start.slot}{' on trial' if start.trial else ''}")
            signal.alarm(ALARM_S if start.trial else 0)
        line = command(start.slot, given.installed, words)
        try:
            os.execve(line[0], line, environment(folder, start.slot, os.environ))  # noqa: S606 - no shell is meant
        except OSError as e:
            _say(f"cannot start {start.slot} ({line[0]}): {e}")
        if start.slot == INSTALLED:
            return 1
        broken.add(start.slot)


if __name__ == "__main__":
    sys.exit(main())
