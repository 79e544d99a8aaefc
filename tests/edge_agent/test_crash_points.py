"""kill -9 and power loss at every moment that changes the disk; the moments are found by the tests themselves.

See `crash_points` for what a moment is, `crash_updates` and `crash_frames` for what is run and what must hold after it.
python-tuf writes its metadata cache itself, by rename and without fsync: each of those writes is a point to kill at
too, a power cut empties or halves the cache, and `test_metadata_cache` damages its files one by one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import StateError
from edge_agent.folder_lock import FolderLock

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ("FirstInstall", "Update", "Frames", "FramesApart", "Caps")


def try_all(scenario: str, how: str, folder: Path) -> dict:
    """All points of a scenario, in a process of its own that forks before anything has started a thread."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.edge_agent.crash_points", scenario, how, str(folder)],
        cwd=ROOT, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def show(scenario: str, how: str, outcome: dict, capsys, record_property) -> None:
    tried = outcome["tried"]
    record_property("points", json.dumps(tried))
    with capsys.disabled():
        kinds = ", ".join(f"{n} {kind}" for kind, n in tried.items())
        print(f"\n{scenario}, {how}: {sum(tried.values())} points ({kinds}), ended {outcome['ends']} times", end=" ")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(scenario, fast_folder, capsys, record_property):
    """The next start runs a verified release, and completes what was interrupted."""
    outcome = try_all(scenario, "kill", fast_folder)
    show(scenario, "kill -9", outcome, capsys, record_property)
    assert outcome["problems"] == []
    # A harness that finds no points would find no faults.
    assert {"disk", "step", "store"} <= outcome["tried"].keys()
    assert sum(outcome["tried"].values()) > 100
    assert outcome["ends"] > 25


@pytest.mark.parametrize("how", ["cut-all", "cut-bytes", "cut-half"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_power_cut_at_any_point_loses_nothing_and_doubles_nothing(
    scenario, how, fast_folder, capsys, record_property
):
    """What was not synced is lost, in each of the ways in which file systems lose it."""
    outcome = try_all(scenario, how, fast_folder)
    show(scenario, how, outcome, capsys, record_property)
    assert outcome["problems"] == []
    assert outcome["tried"]["step"] > 30


@pytest.mark.parametrize("how", ["kill", "cut-all"])
def test_a_posted_image_has_one_answer_whenever_the_agent_is_killed(how, fast_folder, capsys, record_property):
    """The sender posts it again with its idempotency key, and gets the result that the line was told."""
    outcome = try_all("Posted", how, fast_folder)
    show("Posted", how, outcome, capsys, record_property)
    assert outcome["problems"] == []
    assert outcome["tried"]["sqlite"] > (30 if how == "kill" else 2)


def test_a_part_has_one_answer_whenever_the_agent_is_killed(fast_folder, capsys, record_property):
    """A part that was open is completed, or is answered with the name of the camera whose picture is missing."""
    outcome = try_all("Parts", "kill", fast_folder)
    show("Parts", "kill -9", outcome, capsys, record_property)
    assert outcome["problems"] == []
    assert outcome["tried"]["sqlite"] > 60


@pytest.mark.parametrize("how", ["kill", "cut-all", "cut-bytes", "cut-half"])
def test_a_crash_while_the_tables_of_an_earlier_agent_change_loses_nothing(how, fast_folder, capsys, record_property):
    """At each statement of the change, the next start finds either the old tables or the new ones, complete."""
    outcome = try_all("OldIndex", how, fast_folder)
    show("OldIndex", how, outcome, capsys, record_property)
    assert outcome["problems"] == []
    assert outcome["tried"]["sqlite"] > (60 if how == "kill" else 2)


@pytest.mark.parametrize("how", ["kill", "cut-half"])
def test_a_crash_while_a_candidate_comes_and_goes_leaves_the_release_alone(how, fast_folder, capsys, record_property):
    """The next start runs the release, and the candidate judges where it is ordered and leaves nothing where not."""
    outcome = try_all("Beside", how, fast_folder)
    show("Beside", how, outcome, capsys, record_property)
    assert outcome["problems"] == []
    assert outcome["tried"]["step"] > 20


@pytest.mark.parametrize("how", ["kill", "cut-half"])
def test_a_crash_while_the_agents_software_is_replaced_leaves_a_whole_agent_to_start(
    how, fast_folder, capsys, record_property
):
    """The next start runs the software before or the new one, whole, and the update comes to its end by itself."""
    outcome = try_all("NewSoftware", how, fast_folder)
    show("NewSoftware", how, outcome, capsys, record_property)
    assert outcome["problems"] == []
    assert outcome["tried"]["step"] > 100


def test_a_crash_while_a_damaged_outbox_is_replaced_loses_no_image(fast_folder, capsys, record_property):
    """At each step the next start finds the damaged index, or the new one, and every image is sent."""
    outcome = try_all("DamagedIndex", "kill", fast_folder)
    show("DamagedIndex", "kill -9", outcome, capsys, record_property)
    assert outcome["problems"] == []
    assert sum(outcome["tried"].values()) > 10


def test_a_disk_that_does_not_sync_is_found_out(fast_folder):
    """On a disk that does not sync, a kill does no harm and a power cut does: these tests can fail."""
    assert try_all("UnsyncedUpdate", "kill", fast_folder)["problems"] == []
    assert try_all("UnsyncedUpdate", "cut-bytes", fast_folder)["problems"] != []


_HOLDER = """
import sys, time
from pathlib import Path
from edge_agent.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_agent_leaves_no_lock_behind(tmp_path):
    """While one agent lives a second one refuses; as soon as it is dead the next may start."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path / "state")], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match="another agent runs"):
            FolderLock(tmp_path / "state")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    FolderLock(tmp_path / "state").release()
