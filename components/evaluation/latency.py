"""Latency and memory of the deployed path: each model in a process of its own, in turn within each round.

The models are interleaved, so that a warm processor or the load of another program does not affect only one of them.
The pause between two measurements lets the idle threads of one runtime stop before the next is timed.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from components.stores.models.evaluation_report import Deployed
from inspection.decode import Nms
from inspection.documents import InputSpec
from inspection.outputs import BOXES
from inspection.verdict import ClassThreshold

THREADS: Final = 2
"""The number of threads that the agent uses by default."""
_WARM_UP: Final = 5
_ROUNDS: Final = 60
_FEWEST: Final = 10
_LONGEST_S: Final = 60.0
_GAP_S: Final = 0.005
_IMAGES: Final = 16
_TIMEOUT_S: Final = 300.0
_ROOT = Path(__file__).resolve().parents[2]


class LatencyError(RuntimeError):
    """The deployed path could not be timed; the message says why."""


@dataclass(frozen=True, slots=True)
class Timed:
    """The times of one model. frames_ms: one value for each round; in a round all models get the same image."""

    deployed: Deployed
    frames_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class InspectionSettings:
    """How a model inspects, as its release says.

    reading: how pictures are decoded and cut; without it, whole pictures, decoded in full.
    """

    classes: tuple[str, ...]
    thresholds: Mapping[str, ClassThreshold]
    nms: Nms
    output: str = BOXES
    reading: InputSpec | None = None


Measure = Callable[[Mapping[str, bytes], Sequence[bytes], InspectionSettings], Mapping[str, Timed]]
"""(name -> ONNX, image files, settings) -> name -> what was timed."""


def measure(models: Mapping[str, bytes], images: Sequence[bytes], settings: InspectionSettings) -> dict[str, Timed]:
    """Time each model on the images; returns name -> times.

    models: name -> ONNX. images: bytes of image files, of which the first few are used.

    Raises:
        LatencyError: there is no image, or a process died; the message has what it wrote last.
    """
    if not images:
        raise LatencyError("expected an image to time the model on, but the split has none")
    images = images[:_IMAGES]
    with tempfile.TemporaryDirectory(prefix="kizu-latency-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "images").mkdir()
        for number, data in enumerate(images):
            (folder / "images" / str(number)).write_bytes(data)
        processes = {
            model: stack.enter_context(_Process(_order(folder, index, onnx, settings)))
            for index, (model, onnx) in enumerate(models.items())
        }
        return _rounds(processes, len(images))


def _order(folder: Path, index: int, onnx: bytes, settings: InspectionSettings) -> Path:
    (folder / f"{index}.onnx").write_bytes(onnx)
    file = folder / f"{index}.json"
    tiles = settings.reading.tiles if settings.reading is not None else None
    order = {
        "model": f"{index}.onnx",
        "classes": list(settings.classes),
        "thresholds": {name: asdict(threshold) for name, threshold in settings.thresholds.items()},
        "nms": asdict(settings.nms),
        "output": settings.output,
        "shrink": settings.reading.shrink if settings.reading is not None else 1,
        "tiles": None if tiles is None else {"scale": tiles.scale, "overlap_px": tiles.overlap_px},
        "threads": THREADS,
    }
    file.write_text(json.dumps(order), encoding="utf-8")
    return file


def _rounds(processes: Mapping[str, _Process], images: int) -> dict[str, Timed]:
    names = list(processes)
    turn = random.Random(0)  # noqa: S311 - an order of measurements, by a fixed seed
    found: dict[str, list[float]] = {name: [] for name in names}
    began = time.monotonic()
    for number in range(_WARM_UP + _ROUNDS):
        if number >= _WARM_UP + _FEWEST and time.monotonic() - began > _LONGEST_S:
            break
        turn.shuffle(names)
        for name in names:
            time.sleep(_GAP_S)
            ms = processes[name].judge(number % images)
            if number >= _WARM_UP:
                found[name].append(ms)
    return {name: summarise(values, processes[name].peak_memory_bytes()) for name, values in found.items()}


def summarise(frames_ms: Sequence[float], peak_memory_bytes: int) -> Timed:
    """Median and 95th percentile of the frames of one model. frames_ms: milliseconds, at least two."""
    deployed = Deployed(
        threads=THREADS,
        frames=len(frames_ms),
        latency_ms_p50=round(statistics.median(frames_ms), 3),
        latency_ms_p95=round(statistics.quantiles(frames_ms, n=20)[-1], 3),
        peak_memory_bytes=peak_memory_bytes,
    )
    return Timed(deployed, tuple(frames_ms))


class _Process:
    """A process of `deployed_run`. It gets only the environment variables that a program needs to start."""

    def __init__(self, order: Path) -> None:
        environment = {
            key: os.environ[key] for key in ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR") if key in os.environ
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "components.evaluation.deployed_run", str(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "PYTHONPATH": str(_ROOT)},
            text=True,
        )
        self._guard = threading.Timer(_TIMEOUT_S, self._process.kill)
        self._guard.daemon = True
        self._guard.start()

    def judge(self, number: int) -> float:
        """The milliseconds of one image, by its number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # the process died: reported below
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            errors = self._process.communicate()[1].strip()[-500:]
            raise LatencyError(f"the deployed path died with exit code {self._process.returncode}: {errors}")
        return float(line)

    def peak_memory_bytes(self) -> int:
        """The peak resident memory of the process; 0 where there is no /proc."""
        with suppress(OSError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.cancel()
        with suppress(BrokenPipeError, ValueError):  # dead, or its pipes read to the end already
            self._process.communicate(timeout=10) if self._process.poll() is None else None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
