"""The trial of a release: what it reports, and what the agent makes of a process that tries one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_agent import __version__
from edge_agent.errors import EdgeError, UpdateError
from edge_agent.inference import RuntimeChoice, load_release
from edge_agent.ota import trial
from edge_agent.ota.refusal import Kind, kind_of
from edge_agent.ota.trial import TrialResult, check_golden, main, try_release, try_release_aside, version
from tests.edge_agent.models import build_release, quadrant_model

DIGEST = "a" * 64
CHOICE = RuntimeChoice(threads=3, precision="int8", providers=("One", "Two"), backend="openvino")


def tried(tmp_path, built, digest=None) -> TrialResult:
    return try_release(built.write(tmp_path / "release"), digest or built.digest, RuntimeChoice(threads=1))


def test_a_good_release_passes_with_its_latency(tmp_path):
    """A good release passes its trial, and the result reports its latency and nothing else."""
    result = tried(tmp_path, build_release())
    assert result == TrialResult(True, "", "", result.latency_ms)
    assert 0 < result.latency_ms < 1000


def test_a_slow_release_says_its_time_and_its_budget(tmp_path, monkeypatch):
    """A release that is slower than its budget fails with both times; one that takes exactly its budget passes."""
    built = build_release(latency_budget_ms=12.5)
    monkeypatch.setattr(trial, "_latency_ms", lambda folder, loaded: 12.5)
    assert tried(tmp_path, built) == TrialResult(True, "", "", 12.5)
    monkeypatch.setattr(trial, "_latency_ms", lambda folder, loaded: 12.6)
    assert tried(tmp_path, built) == TrialResult(
        False, "too-slow", "12.6 ms a frame here, over the budget of 12.5 ms", 12.6
    )


def test_a_release_for_a_newer_agent_says_both_versions(tmp_path):
    """A release for a newer agent fails with both versions; one for the agent's own version passes."""
    assert tried(tmp_path, build_release(min_agent_version=__version__)).ok
    assert tried(tmp_path, build_release(min_agent_version="99.0.0")) == TrialResult(
        False, "newer-agent-needed", f"it needs agent 99.0.0 or newer, this is {__version__}"
    )


def test_a_version_is_compared_by_its_numbers():
    """1.10 is newer than 1.9; a text that is no version is refused."""
    assert version("1.10.2") == (1, 10, 2)
    assert version("1.10.2") > version("1.9.9")
    with pytest.raises(UpdateError) as caught:
        version("1.x")
    assert (caught.value.reason, str(caught.value)) == (
        "unreadable-release",
        "expected a version such as 1.2.3, but got '1.x'",
    )


def test_a_release_that_was_changed_on_the_disk_is_refused(tmp_path):
    """release.json and the golden samples are checked before anything of them is believed."""
    built = build_release()
    assert tried(tmp_path, built, "0123456789abcdef" * 4) == TrialResult(
        False, "damaged", "release.json of 0123456789ab was changed on this disk"
    )
    built.files["golden.png"] = b"rot"
    assert tried(tmp_path, built) == TrialResult(False, "damaged", "golden sample golden.png was changed on this disk")


def test_what_is_wrong_with_a_release_has_a_word(tmp_path):
    """A wrong answer, a model that cannot be loaded, and whatever nobody foresaw."""
    result = tried(tmp_path, build_release(golden_score=0.6))
    assert (result.ok, result.reason, result.latency_ms) == (False, "golden-samples", 0.0)
    assert result.message.startswith("golden.png: expected scratch 0.600 at (0, 0, 32, 32), but got [")
    result = tried(tmp_path, build_release(model=quadrant_model(side=96)))
    assert (result.ok, result.reason) == (False, "unusable-model")
    assert "96" in result.message
    result = try_release(tmp_path / "none", DIGEST, CHOICE)
    assert (result.ok, result.reason) == (False, "unusable-release")
    assert result.message.startswith("FileNotFoundError: [Errno 2]")


def test_a_golden_sample_is_detected_down_to_the_lowest_threshold(tmp_path):
    """A detection in doubt counts as one; one below all thresholds may be there or not."""
    built = build_release(gain=0.5)
    loaded = load_release(built.write(tmp_path / "r"), built.digest, built.release, RuntimeChoice(threads=1))
    check_golden(tmp_path / "r", loaded.release, loaded.inspector)
    low = build_release(gain=0.3, golden_score=0.9)
    loaded = load_release(low.write(tmp_path / "low"), low.digest, low.release, RuntimeChoice(threads=1))
    with pytest.raises(UpdateError, match="but got nothing like it"):
        check_golden(tmp_path / "low", loaded.release, loaded.inspector)


def test_the_latency_is_the_median_over_the_golden_samples(tmp_path):
    """Fifteen runs over the first five samples in turn; a grey image where the release has none."""
    built = build_release()
    folder = built.write(tmp_path / "r")

    class Loaded:
        release = built.release

        def __init__(self) -> None:
            self.seen = []

        def inspect(self, image):
            self.seen.append(image)
            return None, float([1, 2, 100][len(self.seen) % 3])

    loaded = Loaded()
    assert trial._latency_ms(folder, loaded) == 2.0
    assert len(loaded.seen) == 15
    assert loaded.seen[0].shape == (64, 64, 3)
    assert loaded.seen[0][0, 0].tolist() == [255, 255, 255]
    bare = Loaded()
    bare.release = build_release(golden=()).release
    assert trial._latency_ms(folder, bare) == 2.0
    assert (bare.seen[0].shape, bare.seen[0].dtype, bare.seen[0].min(), bare.seen[0].max()) == (
        (64, 64, 3), "uint8", 127, 127,
    )  # fmt: skip


# -- the process of the trial -----------------------------------------------------------------------------------------


class Child:
    """A process whose output the test says; it ends after some calls."""

    def __init__(self, output=b"", errors=b"", code=0, rounds=0, on_wait=lambda: None) -> None:
        self.output, self.errors, self.returncode = output, errors, code
        self.rounds, self.on_wait = rounds, on_wait
        self.killed = 0
        self.pid = -1
        self.started: list = []

    def __call__(self, command, **options):
        self.started.append((command, options))
        return self

    def communicate(self, timeout=None):
        assert 0 < timeout <= 1
        self.on_wait()
        if self.rounds > 0:
            self.rounds -= 1
            raise subprocess.TimeoutExpired("trial", timeout)
        return self.output, self.errors

    def kill(self):
        self.killed += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def start(monkeypatch):
    def aside(child, stop=None, **options):
        monkeypatch.setattr(subprocess, "Popen", child)
        return try_release_aside(Path("/releases/r"), DIGEST, CHOICE, stop or threading.Event(), **options)

    return aside


def test_the_process_gets_the_release_the_choice_and_few_variables(start, monkeypatch):
    """A foreign model runs there, so no credentials of the agent go with it."""
    monkeypatch.setenv("KIZU_S3__SECRET_KEY", "secret")
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setenv("HOME", "/home/kizu")
    monkeypatch.setenv("TMPDIR", "/scratch")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    child = Child(b'a line of the runtime\n{"ok": true, "reason": "", "message": "", "latency_ms": 1.5}\n')
    assert start(child) == TrialResult(True, "", "", 1.5)
    [(command, options)] = child.started
    assert command == [
        sys.executable, "-m", "edge_agent.ota.trial", "/releases/r", DIGEST,
        "--threads", "3", "--precision", "int8", "--backend", "openvino", "--provider", "One", "--provider", "Two",
    ]  # fmt: skip
    root = str(Path(trial.__file__).resolve().parents[2])
    assert options == {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": {"PATH": "/bin", "HOME": "/home/kizu", "TMPDIR": "/scratch", "PYTHONPATH": root},
    }
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    start(child)
    assert child.started[1][1]["env"]["LD_LIBRARY_PATH"] == "/opt/lib"


def test_a_process_may_take_its_time(start):
    """The trial's process is neither killed nor given up before its time is over."""
    child = Child(b'{"ok": false, "reason": "golden-samples", "message": "m", "latency_ms": 0.0}', rounds=3)
    assert start(child) == TrialResult(False, "golden-samples", "m", 0.0)
    assert child.killed == 0


def test_a_process_that_does_not_end_is_killed(start, monkeypatch):
    """The release is too slow for this device; a minute is said in seconds."""
    child = Child(rounds=100)
    assert start(child, timeout_s=0.0) == TrialResult(False, "too-slow", "the trial did not end within 0 s")
    assert child.killed == 1
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    child = Child(rounds=100, on_wait=lambda: now.__setitem__(0, now[0] + 30.0))
    assert start(child, timeout_s=60.0) == TrialResult(False, "too-slow", "the trial did not end within 60 s")
    assert (child.killed, child.rounds) == (1, 97)


def test_a_trial_over_its_memory_limit_is_ended_and_held_for_a_while_only(start, monkeypatch):
    """The inspection keeps its memory. The cause is transient: the machine may have more free another time."""
    used = iter([100 * 2**20, 299 * 2**20, 301 * 2**20])
    child = Child(rounds=100)
    monkeypatch.setattr(trial, "free_memory_bytes", lambda: 334 * 2**20)
    result = start(child, resident=lambda pid: next(used))
    message = "its trial used 301 MiB, over the limit of 300 MiB"
    assert result == TrialResult(False, "too-much-memory", message)
    assert (child.killed, kind_of(result.reason)) == (1, Kind.TRANSIENT)
    monkeypatch.setattr(trial, "free_memory_bytes", lambda: None)
    passed = b'{"ok": true, "reason": "", "message": "", "latency_ms": 1.5}'
    assert start(Child(passed, rounds=2), resident=lambda pid: 2**40).ok


def test_a_trial_that_the_system_ends_for_lack_of_memory_is_no_crash_of_the_model(start):
    """The kernel ends the trial first; a crash of the runtime has another signal."""
    assert start(Child(code=-9)).reason == "too-much-memory"
    assert start(Child(code=-11)).reason == "trial-crashed"


def test_the_limit_of_the_configuration_holds_for_a_real_process(tmp_path):
    """A limit below what Python itself needs ends the trial of a good release."""
    built = build_release(1)
    choice = RuntimeChoice(threads=1, trial_memory_bytes=5 * 2**20)
    result = try_release_aside(built.write(tmp_path / "r"), built.digest, choice, threading.Event())
    assert (result.ok, result.reason) == (False, "too-much-memory")


def test_an_agent_that_stops_ends_the_trial(start):
    """An agent that stops kills the trial and raises an error, since the trial says nothing about the release then."""
    stop = threading.Event()
    stop.set()
    child = Child(rounds=100)
    with pytest.raises(EdgeError) as caught:
        start(child, stop)
    assert str(caught.value) == "the trial was ended from outside"
    assert (child.killed, child.rounds) == (1, 99)


def test_a_process_that_cannot_start_says_nothing_about_the_release(start):
    """The machine has no memory or no process left."""

    def fails(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    with pytest.raises(EdgeError) as caught:
        start(fails)
    assert str(caught.value) == "cannot start a trial: [Errno 12] Cannot allocate memory"


@pytest.mark.parametrize("output", [b"", b"no json", b'{"other": 1}', b"3"])
@pytest.mark.parametrize(("code", "how"), [(-11, "signal 11"), (0, "exit code 0"), (139, "exit code 139")])
def test_a_process_that_died_says_how_and_its_last_words(start, output, code, how):
    """At most the last 300 characters, since that is where the cause is."""
    result = start(Child(output, b"begin " + b"x" * 294 + b"no mem\xff  \n", code))
    assert result == TrialResult(
        False, "trial-crashed", f"the process that tried it died with {how}: {'x' * 293}no mem\N{REPLACEMENT CHARACTER}"
    )


def test_the_command_tries_a_release_and_prints_one_line(tmp_path, capsys, monkeypatch):
    """The exit code is 0 only where the release passed."""
    built = build_release()
    folder = built.write(tmp_path / "release")
    assert main([str(folder), built.digest, "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("}\n")
    assert printed.count("\n") == 1
    result = json.loads(printed)
    assert (result["ok"], result["reason"], result["message"], set(result)) == (
        True, "", "", {"ok", "reason", "message", "latency_ms"},
    )  # fmt: skip
    assert main([str(folder), DIGEST]) == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "damaged"


def test_the_command_hands_on_what_it_is_told(monkeypatch, capsys):
    """The trial's command passes its options on. Without options it uses the defaults of a device."""
    seen = []

    def tries(folder, digest, choice):
        seen.append((folder, digest, choice))
        return TrialResult(True)

    monkeypatch.setattr(trial, "try_release", tries)
    main(["/r", DIGEST])
    options = ["--threads", "3", "--precision", "int8", "--backend", "openvino"]
    main(["/r", DIGEST, *options, "--provider", "One", "--provider", "Two"])
    assert seen == [(Path("/r"), DIGEST, RuntimeChoice()), (Path("/r"), DIGEST, CHOICE)]
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "\nTry a release in a process of its own.\n" in capsys.readouterr().out
