"""What the launcher starts: its rule as a table, and the file itself as a process with the standard library alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import launcher
from edge_agent.launcher import INSTALLED, decide, next_start

LAUNCHER = Path(launcher.__file__)
BASE_PYTHON = sys._base_executable
SLOTS = {"slots": {"a": "aa", "b": "bb"}}
BOTH = {"active": "a", "previous": "b", **SLOTS}


def usable(*slots):
    return lambda slot: slot in (*slots, INSTALLED)


@pytest.mark.parametrize(
    ("state", "whole", "slot", "trial", "after"),
    [
        ({}, "ab", INSTALLED, False, {"starts": 1}),
        ({"active": "a", **SLOTS}, "ab", "a", False, {"starts": 1}),
        ({"active": "a", **SLOTS}, "", INSTALLED, False, {"starts": 1}),
        ({**BOTH, "starts": 4}, "ab", "a", False, {"starts": 5}),
        ({**BOTH, "starts": 5}, "ab", "b", False, {"starts": 6, "active": "a"}),
        ({**BOTH, "starts": 10}, "ab", INSTALLED, False, {"starts": 11}),
        ({**BOTH, "starts": 15}, "ab", "a", False, {"starts": 16}),
        ({**BOTH, "trial": "b", "starts": 0}, "ab", "b", True, {"starts": 1, "trial": "b"}),
        ({**BOTH, "trial": "b", "starts": 2}, "ab", "b", True, {"starts": 3}),
        ({**BOTH, "trial": "b", "starts": 3}, "ab", "a", False, {
            "starts": 1, "trial": None, "gave_up": {"digest": "bb", "reason": "did-not-stay-up: started 3 times"}}),
        ({**BOTH, "trial": "b", "starts": 0}, "a", "a", False, {
            "trial": None, "gave_up": {"digest": "bb", "reason": "damaged: it cannot be started"}}),
        ({**BOTH, "later": [1]}, "ab", "a", False, {"later": [1]}),
        ({**BOTH, "starts": "many", "active": 7, "previous": ["b"]}, "ab", INSTALLED, False, {}),
    ],
)  # fmt: skip
def test_what_is_started_follows_from_the_state(state, whole, slot, trial, after):
    """New software a few times, what was kept while it stays up, then the former slot, then what was installed."""
    start = next_start(state, usable(*whole))
    assert (start.slot, start.trial) == (slot, trial)
    assert start.state | after == start.state


def test_new_software_is_not_started_where_its_start_cannot_be_counted(tmp_path):
    """On a disk that cannot be written it could be started for ever; what was kept is started."""

    def full(path, state):
        raise OSError(28, "No space left on device")

    launcher.write_state(tmp_path / "state.json", BOTH | {"trial": "b"})
    start = decide(tmp_path, usable("a", "b"), full)
    assert (start.slot, start.trial) == ("a", False)
    assert json.loads((tmp_path / "state.json").read_bytes())["trial"] == "b"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\x00"])
def test_a_damaged_state_starts_what_was_installed_and_stays_for_the_agent(tmp_path, content):
    """The agent sets the file aside; the launcher writes no state of its own making over it."""
    (tmp_path / "state.json").write_bytes(content)
    assert decide(tmp_path, usable("a", "b")).slot == INSTALLED
    assert (tmp_path / "state.json").read_bytes() == content


def test_a_slot_for_another_python_is_not_started(tmp_path):
    """After a change of the system's Python the wheels of a slot do not load."""
    slot = tmp_path / "slots" / "a"
    slot.mkdir(parents=True)
    (slot / "agent.json").write_text("{}")
    (slot / "python").write_text("3.9")
    assert not launcher.is_usable(tmp_path, "a")
    (slot / "python").write_text(launcher.python_version())
    assert launcher.is_usable(tmp_path, "a")
    (slot / "agent.json").unlink()
    assert not launcher.is_usable(tmp_path, "a"), "a slot without its document is not complete"


AGENT = """
import os, signal, sys
print(os.environ["KIZU_LAUNCHER_SLOT"], sys.argv[1:], signal.getitimer(signal.ITIMER_REAL)[0] > 500, os.getpid())
"""


def fill(state: Path, slot: str, code: str) -> None:
    place = state / "agent" / "slots" / slot
    (place / "site" / "edge_agent").mkdir(parents=True)
    (place / "site" / "edge_agent" / "__main__.py").write_text(code)
    (place / "python").write_text(launcher.python_version())
    (place / "agent.json").write_text("{}")


def launch(state: Path, *options: str) -> subprocess.CompletedProcess:
    command = [BASE_PYTHON, "-I", "-S", str(LAUNCHER), *options, "--state", str(state), "--installed", "/bin/false"]
    return subprocess.run(
        [*command, "--", "run", "--config", "x"], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_launcher_becomes_the_agent_of_the_slot_with_an_alarm_while_it_is_new(tmp_path):
    """One process, with the packages of the slot alone; the kernel's alarm stays set over the start on trial."""
    fill(tmp_path, "b", AGENT)
    file = tmp_path / "agent" / "state.json"
    launcher.write_state(file, {"active": INSTALLED, "trial": "b", "slots": {"b": "bb"}})
    done = launch(tmp_path)
    assert done.stdout.split(" 1")[0].startswith("b ['run', '--config', 'x'] True"), done.stderr
    assert json.loads(file.read_bytes())["starts"] == 1
    peeked = launch(tmp_path, "--peek")
    assert peeked.stdout.startswith("b ['run', '--config', 'x'] False"), "a command beside the service has no alarm"
    assert json.loads(file.read_bytes())["starts"] == 1


def test_an_agent_that_lives_and_does_nothing_is_ended_and_the_former_is_started(tmp_path):
    """The alarm ends it, as often as it may be started; then the launcher starts what was installed."""
    fill(tmp_path, "a", "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.05)\ntime.sleep(600)\n")
    launcher.write_state(
        tmp_path / "agent" / "state.json", {"active": INSTALLED, "trial": "a", "slots": {"a": "aa"}, "starts": 2}
    )
    assert launch(tmp_path).returncode == -signal.SIGALRM
    done = launch(tmp_path)
    assert "starting installed" in done.stderr
    state = json.loads((tmp_path / "agent" / "state.json").read_bytes())
    assert state["gave_up"] == {"digest": "aa", "reason": "did-not-stay-up: started 3 times"}
