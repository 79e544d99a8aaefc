"""The model on OpenVINO behind `inspection.Infer`: an optional runtime, faster at int8 on Intel CPUs.

It comes with the extra `edge-openvino`. Answers are computed in float32 where the model says float32: left alone,
OpenVINO takes bfloat16 on processors that have it, and the same release would answer otherwise on another device.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BackendUnavailable, InferenceError
from inspection import Infer


def load_openvino_model(path: Path, shape: Sequence[int], threads: int) -> Infer:
    """Open an ONNX file as a function (1, 3, h, w) float32 -> (1, 4 + classes, n) float32.

    Raises:
        BackendUnavailable: OpenVINO is not installed here, or does not take this model.
        InferenceError: the model's input is not of this fixed shape.
    """
    openvino = _import_openvino()
    try:
        core = openvino.Core()
        model = core.read_model(str(path))
        inputs = [(list(item.partial_shape.to_shape()), item.element_type.to_string()) for item in model.inputs]
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
            },
        )
        request = compiled.create_infer_request()
    except RuntimeError as e:
        raise BackendUnavailable(f"OpenVINO does not take {path.name}: {_cause(e)}") from e
    if inputs != [(list(shape), "f32")]:
        raise InferenceError(f"{path.name}: expected one static float input of shape {tuple(shape)}, but got {inputs}")

    def infer(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            output: NDArray[np.float32] = request.infer([tensor], share_inputs=True)[0]
        except RuntimeError as e:
            raise InferenceError(f"{path.name} failed while running: {_cause(e)}") from e
        return output

    return infer


def _import_openvino() -> Any:
    # The package's conversion tools tell its maker of every import unless they are missing; a device needs neither.
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # None: an import of it fails
    try:
        import openvino
    except ImportError as e:
        raise BackendUnavailable(
            f"OpenVINO is not installed here ({e}); install locks/edge-openvino.txt or configure inference.backend: "
            "onnxruntime"
        ) from e
    return openvino


def _cause(error: Exception) -> str:
    """OpenVINO's messages are a trace of its sources; the cause is a line with dashes, else the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return (marked or lines or [type(error).__name__])[-1][:300]
