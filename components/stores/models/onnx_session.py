"""onnxruntime behind the `Infer` port, opened by the rules that the device follows (`inspection.model_rules`)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspection.documents import InputSpec
from inspection.inspector import Infer
from inspection.model_rules import (
    TELEMETRY_SWITCH,
    ModelFormError,
    check_input,
    check_output,
    configure,
)
from inspection.outputs import BOXES

os.environ.update([TELEMETRY_SWITCH])  # before the import, which reads it

import onnxruntime as ort


class ModelError(ValueError):
    """An ONNX that is not a static model of the form that devices read."""


def open_session(onnx: bytes, classes: int, *, threads: int, output: str = BOXES) -> tuple[Infer, InputSpec]:
    """Load a model, as the device loads it, and read the size of its input.

    Args:
        onnx: the bytes of the file.
        classes: how many classes the model must answer for.
        threads: how many threads one inference uses.
        output: the form of its output; see `inspection.outputs`.

    Returns:
        A function (1, 3, height, width) float32 in 0..1 -> float32 in that form, and the size of its input.

    Raises:
        ModelError: it cannot be loaded, or its input or output has another shape.
    """
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    configure(options, threads)
    try:
        session: Any = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's errors have no common base but RuntimeError's siblings
        raise ModelError(f"onnxruntime cannot load the model: {e}") from e
    try:
        height, width = check_input(session.get_inputs())
        check_output(session.get_outputs(), classes, output)
    except ModelFormError as e:
        raise ModelError(str(e)) from e
    input_name = session.get_inputs()[0].name

    def infer(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run(None, {input_name: tensor})[0]
        return result

    return infer, InputSpec(width=width, height=height)
