"""Loads a model on OpenVINO behind `inspection.Infer`: an optional runtime, faster at int8 on Intel processors.

It comes with the extra `edge-openvino`. Where a model says float32, OpenVINO is told to compute in float32: by default
it uses bfloat16 on processors that have it, and the same release would answer differently on another device.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BackendUnavailable, InferenceError
from inspection import Infer
from inspection.model_rules import ModelFormError, check_input, check_output
from inspection.outputs import BOXES


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output in the words of onnxruntime; see `inspection.model_rules.TensorInfo`."""

    name: str
    shape: Sequence[int | str | None]
    type: str


def load_openvino_model(
    path: Path,
    shape: tuple[int, int, int, int],
    threads: int,
    *,
    classes: int | None = None,
    form: str = BOXES,
) -> Infer:
    """Open an ONNX file as a function (1, 3, h, w) float32 -> float32 in a form of `inspection.outputs`.

    Args:
        shape: the input that the model must have, (1, 3, height, width).
        threads: how many threads one inference uses.
        classes: how many classes the model must answer for; None checks no output.
        form: the form of its output.

    Raises:
        BackendUnavailable: OpenVINO is not installed here, or does not take this model.
        InferenceError: the model's input or output is another one.
    """
    openvino = _import_openvino()
    try:
        core = openvino.Core()
        model = core.read_model(str(path))
        inputs, outputs = _tensors(model.inputs), _tensors(model.outputs)
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
    try:
        check_input(inputs, shape[2:])
        if classes is not None:
            check_output(outputs, classes, form)
    except ModelFormError as e:
        raise InferenceError(f"{path.name}: {e}") from e

    def infer(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            output: NDArray[np.float32] = request.infer([tensor], share_inputs=True)[0]
        except RuntimeError as e:
            raise InferenceError(f"{path.name} failed while running: {_cause(e)}") from e
        return output

    return infer


def _tensors(items: Sequence[Any]) -> list[_Tensor]:
    return [
        _Tensor(
            item.any_name if item.names else "",
            [side.get_length() if side.is_static else None for side in item.partial_shape],
            {"f32": "tensor(float)"}.get(item.element_type.to_string(), item.element_type.to_string()),
        )
        for item in items
    ]


def _import_openvino() -> Any:
    # The package's conversion tools report every import to its maker, unless they are missing; a device needs neither.
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
    """The cause in a message of OpenVINO, which lists its source files: the last line with dashes, else the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return (marked or lines or [type(error).__name__])[-1][:300]
