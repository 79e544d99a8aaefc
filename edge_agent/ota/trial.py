"""Tries a release in a process of its own, so that a model that crashes the runtime does not end the inspection.

`python -m edge_agent.ota.trial <release folder> <digest>` prints one line of JSON, `{"ok": …, "reason": …, "message":
…, "latency_ms": …}`, and exits with 0 only where the release passed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import statistics
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.child import TooLong, run_child
from edge_agent.errors import InferenceError, UpdateError
from edge_agent.inference import RELEASE_FILE, LoadedRelease, RuntimeChoice, load_release
from edge_agent.memory import (
    TooMuchMemory,
    end_first_without_memory,
    free_memory_bytes,
    resident_bytes,
    share_of,
    within_memory,
)
from edge_agent.ota.release_client import read_release
from inspection import Candidate, Inspector, Picture, Release, decode_image, read_picture
from inspection.golden import difference

_LATENCY_RUNS: Final = 15
_TIMEOUT_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The outcome of a trial. reason: a fixed word, empty where it passed; latency_ms: median from image to verdict."""

    ok: bool
    reason: str = ""
    message: str = ""
    latency_ms: float = 0.0


def try_release(folder: Path, digest: str, choice: RuntimeChoice) -> TrialResult:
    """Load a release in this process, and check its golden samples and its latency budget. Raises nothing."""
    try:
        release = _checked(folder, digest)
        loaded = load_release(folder, digest, release, choice)
        check_golden(folder, release, loaded.inspector)
        latency_ms = _latency_ms(folder, loaded)
    except UpdateError as e:
        return TrialResult(False, e.reason, str(e))
    except InferenceError as e:
        return TrialResult(False, "unusable-model", str(e))
    except Exception as e:  # a release is foreign data: whatever it causes is a failure of the release
        return TrialResult(False, "unusable-release", f"{type(e).__name__}: {e}")
    if latency_ms > release.latency_budget_ms:
        message = f"{latency_ms:.1f} ms a frame here, over the budget of {release.latency_budget_ms:.1f} ms"
        return TrialResult(False, "too-slow", message, latency_ms)
    return TrialResult(True, latency_ms=latency_ms)


def try_release_aside(
    folder: Path,
    digest: str,
    choice: RuntimeChoice,
    stop: threading.Event,
    timeout_s: float = _TIMEOUT_S,
    resident: Callable[[int], int | None] = resident_bytes,
) -> TrialResult:
    """Run `try_release` in a child process. A child that crashes or does not end is a failed trial.

    The child has a memory limit of its own (`within_memory`), so that a large model takes none from the inspection.

    Args:
        stop: ends the trial when it is set.
        resident: the memory that a process uses, in bytes; None where the system does not say.

    Raises:
        Interrupted: `stop` was set; nothing is known about the release.
        EdgeError: the child could not be started.
    """
    command = [
        sys.executable, "-m", "edge_agent.ota.trial", str(folder), digest,
        "--threads", str(choice.threads), "--precision", choice.precision, "--backend", choice.backend,
        *(item for provider in choice.providers for item in ("--provider", provider)),
    ]  # fmt: skip
    look = within_memory(choice.trial_memory_bytes or share_of_free(), resident)
    try:
        end = run_child(command, child_environment(), stop, timeout_s, "trial", look)
    except TooLong:
        return TrialResult(False, "too-slow", f"the trial did not end within {timeout_s:.0f} s")
    except TooMuchMemory as e:
        return TrialResult(False, "too-much-memory", str(e))
    try:
        return TrialResult(**json.loads(end.output.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        if end.code == -signal.SIGKILL:
            return TrialResult(False, "too-much-memory", "the system ended the trial, as it does where memory runs out")
        how = f"signal {-end.code}" if end.code < 0 else f"exit code {end.code}"
        return TrialResult(False, "trial-crashed", f"the process that tried it died with {how}: {end.last_words}")


def share_of_free() -> int | None:
    """Nine tenths of the memory that is free now, in bytes; None where the system does not say."""
    return share_of(free_memory_bytes())


def child_environment() -> dict[str, str]:
    """The variables of a process in which a foreign model runs: only those that a program needs to start."""
    names = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    return environment


def check_golden(folder: Path, release: Candidate, inspector: Inspector) -> None:
    """Compare what a release detects on its golden samples with what it should detect.

    Raises:
        UpdateError: `golden-samples`, with the first difference, or `damaged`.
    """
    floor = min(threshold.uncertain for threshold in release.thresholds.values())
    for sample in release.golden:
        data = (folder / sample.file).read_bytes()
        if hashlib.sha256(data).hexdigest() != sample.sha256:
            raise UpdateError("damaged", f"golden sample {sample.file} was changed on this disk")
        got = inspector.detect(inspector.read(data), floor)
        wrong = difference(got, sample.expected, sample.tolerance, floor)
        if wrong is not None:
            raise UpdateError("golden-samples", f"{sample.file}: {wrong}")


def _checked(folder: Path, digest: str) -> Release:
    data = (folder / RELEASE_FILE).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise UpdateError("damaged", f"release.json of {digest[:12]} was changed on this disk")
    release = read_release(data)
    check_agent_version(release)
    return release


def check_agent_version(release: Candidate) -> None:
    """Refuse a release or a candidate for newer agents.

    Raises:
        UpdateError: `newer-agent-needed`.
    """
    if version(release.min_agent_version) > version(__version__):
        message = f"it needs agent {release.min_agent_version} or newer, this is {__version__}"
        raise UpdateError("newer-agent-needed", message)


def version(text: str) -> tuple[int, ...]:
    """Parse a version: `1.10.2` -> (1, 10, 2).

    Raises:
        UpdateError: the text has another form.
    """
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError as e:
        raise UpdateError("unreadable-release", f"expected a version such as 1.2.3, but got {text!r}") from e


def _latency_ms(folder: Path, loaded: LoadedRelease) -> float:
    preprocess = loaded.release.preprocess
    samples = [(folder / sample.file).read_bytes() for sample in loaded.release.golden[:5]]
    images: list[NDArray[np.uint8] | Picture]
    if preprocess.shrink == 1:
        images = [decode_image(data) for data in samples]
    else:
        images = [read_picture(data, shrink=preprocess.shrink) for data in samples]
    images = images or [np.full((preprocess.height, preprocess.width, 3), 127, dtype=np.uint8)]
    return statistics.median(loaded.inspect(images[run % len(images)])[1] for run in range(_LATENCY_RUNS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run in the child process: try a release, print the result, and return the exit code."""
    parser = argparse.ArgumentParser(description="Try a release in a process of its own.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("digest")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--provider", action="append", dest="providers")
    given = parser.parse_args(arguments)
    providers = tuple(given.providers or ("CPUExecutionProvider",))
    end_first_without_memory()
    choice = RuntimeChoice(given.threads, given.precision, providers, given.backend)
    result = try_release(given.folder, given.digest, choice)
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
