"""onnxruntime behind the `Infer` port."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Read while onnxruntime is loaded: without it, an id of this machine is written to a cache, to be reported with events.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from inspection.documents import InputSpec
from inspection.inspector import Infer


class ModelError(ValueError):
    """An ONNX that is not a static detector of the form that devices read."""


def open_session(onnx: bytes, classes: int, *, threads: int) -> tuple[Infer, InputSpec]:
    """Load a model and read its static input.

    Raises:
        ModelError: it cannot be loaded, or its input or output has another shape.
    """
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # As on the device: idle threads would go on spinning after each frame.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session: Any = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's errors have no common base but RuntimeError's siblings
        raise ModelError(f"onnxruntime cannot load the model: {e}") from e
    shape = session.get_inputs()[0].shape
    if len(shape) != 4 or not all(isinstance(side, int) for side in shape) or shape[:2] != [1, 3]:
        raise ModelError(f"expected a static input of shape (1, 3, height, width), but got {shape}")
    out = session.get_outputs()[0].shape
    if len(out) != 3 or out[1] != 4 + classes:
        raise ModelError(f"expected an output of shape (1, {4 + classes}, n) for {classes} classes, but got {out}")
    name = session.get_inputs()[0].name

    def infer(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run(None, {name: tensor})[0]
        return result

    return infer, InputSpec(width=shape[3], height=shape[2])
