"""The model on this machine behind `inspection.Infer`: onnxruntime, or another runtime that the configuration names."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

# Read while onnxruntime is loaded: without it, an id of this device is written to a cache, to be reported with events.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from edge_agent.errors import BackendUnavailable, InferenceError
from edge_agent.openvino_backend import load_openvino_model
from inspection import Infer, Inspection, Inspector, ModelFile, Release

if TYPE_CHECKING:  # the trial's process needs no configuration
    from edge_agent.config import Inference

_log = logging.getLogger(__name__)

RELEASE_FILE: Final = "release.json"
_WARM_UP_RUNS: Final = 2


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """How models run here; see `config.Inference`."""

    threads: int = 2
    precision: str = "fp32"
    providers: Sequence[str] = ("CPUExecutionProvider",)
    backend: str = "onnxruntime"

    @classmethod
    def from_config(cls, inference: Inference) -> Self:
        """What the device's configuration chooses."""
        return cls(inference.threads, inference.precision, inference.providers, inference.backend)


@dataclass(frozen=True, slots=True)
class LoadedRelease:
    """A release that is ready to inspect."""

    digest: str
    release: Release
    model: ModelFile
    inspector: Inspector

    def inspect(self, image: NDArray[np.uint8]) -> tuple[Inspection, float]:
        """Detections from the sampling floor on and the verdict; and the milliseconds from image to verdict.

        Args:
            image: (h, w, 3) uint8, BGR.

        Raises:
            InferenceError
        """
        start = time.perf_counter()
        try:
            inspection = self.inspector.inspect(image, score_floor=max(0.01, self.release.sampling.uncertain_low))
        except InferenceError:
            raise
        except Exception as e:
            # Whatever a model's answer does to the code behind it, the loop must see one kind of error.
            raise InferenceError(f"release {self.digest[:12]}: {type(e).__name__}: {e}") from e
        return inspection, (time.perf_counter() - start) * 1000


def load_release(folder: Path, digest: str, release: Release, choice: RuntimeChoice) -> LoadedRelease:
    """Load the model of a release that lies in `folder`, and warm it up.

    Raises:
        InferenceError: it cannot be loaded, or does not take the input that the release describes.
    """
    model = choose_model(release, choice.precision)
    preprocess = release.preprocess.to_preprocess()
    shape = (1, 3, preprocess.height, preprocess.width)
    infer = load_model(folder / model.file, shape, choice)
    for _ in range(_WARM_UP_RUNS):
        infer(np.zeros(shape, dtype=np.float32))
    return LoadedRelease(
        digest, release, model, Inspector(infer, preprocess, release.classes, release.thresholds, release.nms)
    )


def choose_model(release: Release, precision: str) -> ModelFile:
    """The model of the wanted precision, else the first of the release."""
    for model in release.models:
        if model.precision == precision:
            return model
    _log.warning("the release has no %s model; using %s", precision, release.models[0].precision)
    return release.models[0]


def load_model(path: Path, shape: tuple[int, int, int, int], choice: RuntimeChoice) -> Infer:
    """Open an ONNX file as a function (1, 3, h, w) float32 -> (1, 4 + classes, n) float32.

    A chosen runtime that cannot be had is no reason to stop the line: onnxruntime takes its place, and the log says so.

    Raises:
        InferenceError: not loadable, or its input is not of this fixed shape.
    """
    if choice.backend == "openvino":
        try:
            return load_openvino_model(path, shape, choice.threads)
        except BackendUnavailable as e:
            _log.warning("%s; falling back to onnxruntime", e)
    return _load_onnxruntime_model(path, shape, choice)


def _load_onnxruntime_model(path: Path, shape: tuple[int, int, int, int], choice: RuntimeChoice) -> Infer:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = choice.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads would go on spinning after each frame: twice the processor time for the same latency.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    available = onnxruntime.get_available_providers()
    providers = [name for name in choice.providers if name in available]
    if len(providers) < len(choice.providers):
        missing = sorted(set(choice.providers) - set(available))
        _log.warning("execution providers not available here: %s; falling back to the CPU", ", ".join(missing))
    try:
        session: Any = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=providers or ["CPUExecutionProvider"]
        )
        inputs = session.get_inputs()
    except Exception as e:  # onnxruntime raises classes of its own for each cause, without a common base
        raise InferenceError(f"cannot load {path.name}: {str(e).splitlines()[0][:300]}") from e
    if len(inputs) != 1 or list(inputs[0].shape) != list(shape) or inputs[0].type != "tensor(float)":
        got = [(item.name, item.shape, item.type) for item in inputs]
        raise InferenceError(f"{path.name}: expected one static float input of shape {shape}, but got {got}")
    name = inputs[0].name

    def infer(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            output: NDArray[np.float32] = session.run(None, {name: tensor})[0]
        except Exception as e:
            raise InferenceError(f"{path.name} failed while running: {str(e).splitlines()[0][:300]}") from e
        return output

    return infer
