"""The contenders that are measured. Each runs in a process of its own and gives a verdict for a photograph's bytes."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

SGEMM_SIDE = 1024
"""Side of the matrices: 2.1 GFLOP per call.

A call is long enough that the start of threads does not count, and short enough not to delay the other contenders.
"""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a worker process needs to build its contender.

    kind: ultralytics, sahi, agent or sgemm. path: a model (ultralytics, sahi) or a release's folder (agent). size:
    (height, width) for Ultralytics' `imgsz`; None passes no `imgsz`. precision, backend: of the agent. slices, overlap:
    of sahi, (height, width) in pixels of the picture and the share of the shorter side.
    """

    kind: str
    threads: int
    path: str = ""
    size: tuple[int, int] | None = None
    precision: str = "fp32"
    backend: str = "onnxruntime"
    slices: tuple[int, int] | None = None
    overlap: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """defective: the verdict; infer_ms: the milliseconds spent in the runtime, None where the contender cannot tell."""

    defective: bool
    infer_ms: float | None = None


class Contender(Protocol):
    """Anything that judges a photograph."""

    def judge(self, jpeg: bytes) -> Answer:
        """Give the verdict for a JPEG's bytes."""
        ...


def build(spec: Spec, min_score: float) -> Contender:
    """Build a contender in this process. Its libraries are imported here and not before.

    Raises:
        ValueError: `spec.kind` is unknown.
    """
    if spec.kind == "ultralytics":
        return _Ultralytics(spec, min_score)
    if spec.kind == "agent":
        return _Agent(spec)
    if spec.kind == "sahi":
        return _Sahi(spec, min_score)
    if spec.kind == "sgemm":
        return _Sgemm()
    raise ValueError(f"expected ultralytics, sahi, agent or sgemm, but got {spec.kind!r}")


class _Ultralytics:
    def __init__(self, spec: Spec, min_score: float) -> None:
        from components.yolov8.ultralytics_predict import UltralyticsPredictor

        self._predictor = UltralyticsPredictor(Path(spec.path), spec.threads, spec.size)
        self._min_score = min_score

    def judge(self, jpeg: bytes) -> Answer:
        return Answer(self._predictor.is_defective(jpeg, self._min_score))


class _Sahi:
    def __init__(self, spec: Spec, min_score: float) -> None:
        from components.yolov8.sliced_predict import SlicedPredictor

        assert spec.size is not None
        assert spec.slices is not None
        # The same number of pixels down and across, as the agent's tiles.
        shared = spec.overlap * min(spec.size)
        (height, width), (down, across) = spec.size, spec.slices  # lists, once they were JSON
        self._predictor = SlicedPredictor(
            Path(spec.path), spec.threads, (height, width), (down, across), (shared / height, shared / width), min_score
        )

    def judge(self, jpeg: bytes) -> Answer:
        return Answer(self._predictor.is_defective(jpeg))


class _Agent:
    """The agent: it does what the inspection loop does with a frame, up to the verdict."""

    def __init__(self, spec: Spec) -> None:
        from edge_agent.inference import RELEASE_FILE, LoadedRelease, RuntimeChoice, choose_model, load_model
        from inspection import Inspector, Release
        from inspection.model_rules import lanes

        folder = Path(spec.path)
        data = (folder / RELEASE_FILE).read_bytes()
        release = Release.from_json(data)
        at_once, threads = lanes(release.preprocess.tiles is not None, spec.threads)
        choice = RuntimeChoice(threads, spec.precision, backend=spec.backend)
        model = choose_model(release, choice.precision)
        size = release.preprocess.to_preprocess()
        # As `load_release` does it, with a timer around the runtime.
        infer = load_model(folder / model.file, (1, 3, size.height, size.width), choice)

        def watched(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
            began = time.perf_counter()
            output = infer(tensor)
            self._infer_ms = (time.perf_counter() - began) * 1000
            return output

        inspector = Inspector(watched, size, release.classes, release.thresholds, release.nms, at_once=at_once)
        self._loaded = LoadedRelease(release.digest, release, model, inspector)
        self._infer_ms = 0.0

    def judge(self, jpeg: bytes) -> Answer:
        inspection, _ = self._loaded.inspect(self._loaded.read(jpeg))
        # Of several tiles, the time of one says nothing.
        one = self._loaded.release.preprocess.tiles is None
        return Answer(inspection.verdict == "fail", self._infer_ms if one else None)


class _Sgemm:
    """A product of float32 matrices, which shows the machine's speed at the moment.

    NumPy's BLAS computes it. The environment sets the number of threads.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._a = rng.random((SGEMM_SIDE, SGEMM_SIDE), np.float32)
        self._b = rng.random((SGEMM_SIDE, SGEMM_SIDE), np.float32)
        self._c = np.empty_like(self._a)

    def judge(self, jpeg: bytes) -> Answer:
        np.matmul(self._a, self._b, out=self._c)
        return Answer(False)
