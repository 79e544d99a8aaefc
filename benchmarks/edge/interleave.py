"""Measure several contenders in one run: one after another, in a random order in each round, with a pause between.

A warm or throttled processor, or the load of another program, then does not affect one contender alone. The pause lets
the idle threads of one runtime stop spinning before the next contender is measured.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
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
    """One judged photograph. infer_ms: the milliseconds in the runtime, None where the contender cannot tell.

    faults: the pages that the system gave to the process meanwhile.
    """

    ms: float
    infer_ms: float | None
    defective: bool
    faults: int = 0


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
        """95th percentile of the milliseconds from bytes to verdict."""
        return statistics.quantiles((sample.ms for sample in self.samples), n=20)[-1]

    @property
    def fastest(self) -> float:
        """The fewest milliseconds from bytes to verdict."""
        return min(sample.ms for sample in self.samples)

    @property
    def fastest_infer(self) -> float:
        """The fewest milliseconds in the runtime alone."""
        return min(sample.infer_ms for sample in self.samples if sample.infer_ms is not None)

    @property
    def rest_p50(self) -> float:
        """Median milliseconds outside the runtime: JPEG, letterbox, decoding of boxes, verdict."""
        return statistics.median(s.ms - s.infer_ms for s in self.samples if s.infer_ms is not None)


class Worker:
    """The process of a contender.

    Args:
        python: the interpreter of the contender's environment.
        paths: folders of packages that are not in that environment.
    """

    def __init__(self, spec: Spec, frames: Path, python: str = sys.executable, paths: Sequence[str] = ()) -> None:
        order = {"spec": spec.to_json(), "frames": str(frames), "min_score": FAIL_SCORE}
        path = os.pathsep.join([str(_ROOT), *paths])
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(spec.threads), "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.edge.worker", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=_ROOT,
            text=True,
        )

    def judge(self, number: int) -> Sample:
        """Let the contender judge one photograph.

        Raises:
            RuntimeError: the process has died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # the missing answer is reported below
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender died with exit code {self._process.wait()}; see its message above")
        return Sample(**json.loads(line))

    def resident_bytes(self) -> int:
        """The resident memory of the process now, in bytes."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"no VmRSS of process {self._process.pid}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # the process has ended already
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def run_interleaved(workers: Mapping[str, Worker], rounds: int, photographs: int) -> dict[str, Timings]:
    """Let every contender judge the same photograph in each round.

    The order is random with a fixed seed. In an order that only rotates, each contender would follow the same other
    contender in all rounds.
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
    """Seconds from the start of a process to its first verdict, with its files in the system's cache."""
    began = time.perf_counter()
    with Worker(spec, frames, python) as worker:
        worker.judge(0)
        return time.perf_counter() - began
