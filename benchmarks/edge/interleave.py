"""Contenders side by side: one after another in an order that is drawn anew each round, a pause between, in one run.

Neither a warm or a throttled processor nor a neighbour's load then falls on one of them alone; and the pause lets the
idle threads of one runtime stop spinning before the next is measured.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.edge.contenders import Spec
from benchmarks.edge.release import FAIL_SCORE

GAP_S: Final = 0.06
_WARM_UP: Final = 6
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Sample:
    """One photograph judged. infer_ms: what the runtime took of it, None where it cannot be told."""

    ms: float
    infer_ms: float | None
    defective: bool


@dataclass(frozen=True, slots=True)
class Timings:
    """All samples of one contender, and the resident memory of its process at the end."""

    samples: tuple[Sample, ...]
    resident_bytes: int

    @property
    def p50(self) -> float:
        """Median milliseconds from bytes to verdict."""
        return statistics.median(sample.ms for sample in self.samples)

    @property
    def p95(self) -> float:
        """95th percentile of the same."""
        return statistics.quantiles((sample.ms for sample in self.samples), n=20)[-1]

    @property
    def fastest(self) -> float:
        """The least of the same."""
        return min(sample.ms for sample in self.samples)

    @property
    def fastest_infer(self) -> float:
        """The least time spent in the runtime alone."""
        return min(sample.infer_ms for sample in self.samples if sample.infer_ms is not None)

    @property
    def rest_p50(self) -> float:
        """Median of all that is not the runtime: JPEG, letterbox, decoding of boxes, verdict."""
        return statistics.median(s.ms - s.infer_ms for s in self.samples if s.infer_ms is not None)


class Worker:
    """A contender's process. `python`: the interpreter of the environment that it belongs to."""

    def __init__(self, spec: Spec, frames: Path, python: str = sys.executable) -> None:
        order = {"spec": spec.to_json(), "frames": str(frames), "min_score": FAIL_SCORE}
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(spec.threads), "PYTHONPATH": str(_ROOT)}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.edge.worker", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=_ROOT,
            text=True,
        )

    def judge(self, number: int) -> Sample:
        """Have one photograph judged."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # said below
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender died with exit code {self._process.wait()}; see its message above")
        return Sample(**json.loads(line))

    def resident_bytes(self) -> int:
        """What of the process lies in memory now."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"no VmRSS of process {self._process.pid}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it is dead already
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def run_interleaved(workers: Mapping[str, Worker], rounds: int, photographs: int) -> dict[str, Timings]:
    """Every contender judges the same photograph in a round.

    The order is drawn, by a fixed seed: one that only turned would put each behind the same neighbour in all rounds.
    """
    names = list(workers)
    draw = random.Random(0)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for turn in range(_WARM_UP + rounds):
        draw.shuffle(names)
        for name in names:
            time.sleep(GAP_S)
            sample = workers[name].judge(turn % photographs)
            if turn >= _WARM_UP:
                samples[name].append(sample)
    return {name: Timings(tuple(samples[name]), worker.resident_bytes()) for name, worker in workers.items()}


def start_up_s(spec: Spec, frames: Path, python: str) -> float:
    """Seconds from the start of a process to its first verdict, the files in the system's cache."""
    began = time.perf_counter()
    with Worker(spec, frames, python) as worker:
        worker.judge(0)
        return time.perf_counter() - began
