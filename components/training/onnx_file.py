"""Export of a PyTorch network to a static, rectangular ONNX that gives the network's answers."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from components.training.trainer import TrainingError
from inspection.image import sha256_of
from inspection.model_rules import TELEMETRY_SWITCH, configure

OPSET: Final = 17
"""Pinned: every runtime on a device in use reads it, and these networks need nothing newer."""
PARITY_TOLERANCE: Final = 1e-3
"""The largest allowed difference between PyTorch and ONNX: boxes as a share of the longer side, scores in 0..1."""
STRIDES: Final = (8, 16, 32)
"""The stride of each feature map, in input pixels. Each place on a map is one column of the output."""


class ExportError(TrainingError):
    """The exported model is not valid, or does not answer as the network does."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The written file. parity_max_difference: from the network, see `parity`."""

    sha256: str
    opset: int
    parity_max_difference: float


def write_onnx(
    deployed: Any,
    network: Any,
    width: int,
    height: int,
    classes: tuple[str, ...],
    path: Path,
    threads: int,
    *,
    shape: Sequence[int] | None = None,
) -> Exported:
    """Write `deployed` (float32, eval mode) with the static input (1, 3, height, width) to `path`.

    The file is compared with `network`, which may compute the same in another arrangement. Both return `shape`, or a
    tuple that begins with it; without a shape, (1, 4 + classes, n) of a detector with a place for each of `STRIDES`.

    The same weights give the same bytes: the file contains neither a date nor a path of this machine. The file's
    metadata has the names of the classes under `classes`, as a JSON list.

    Raises:
        ExportError: the file is not valid ONNX, or differs from the network by more than `PARITY_TOLERANCE`.
    """
    import onnx
    import torch

    example = torch.zeros(1, 3, height, width)
    with warnings.catch_warnings(), torch.no_grad():
        # torch warns about its older exporter, which is the one that is known to export these networks.
        warnings.simplefilter("ignore")
        network(example)
        deployed(example)
        torch.onnx.export(
            deployed,
            (example,),
            str(path),
            opset_version=OPSET,
            input_names=["images"],
            output_names=["output0"],
            dynamo=False,
        )
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.doc_string = ""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"classes": json.dumps(list(classes), ensure_ascii=False)})
    path.write_bytes(model.SerializeToString(deterministic=True))
    places = sum((width // stride) * (height // stride) for stride in STRIDES)
    _check_form(path, width, height, shape or (1, 4 + len(classes), places))
    difference = parity(network, path, width, height, threads)
    if not difference <= PARITY_TOLERANCE:
        raise ExportError(f"expected the ONNX within {PARITY_TOLERANCE} of PyTorch, but it differs by {difference:.2g}")
    return Exported(sha256_of(path.read_bytes()), OPSET, difference)


def _check_form(path: Path, width: int, height: int, answer: Sequence[int]) -> None:
    import onnx

    model = onnx.load(str(path))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ExportError(f"the exported file is not valid ONNX: {e}") from e
    found = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    expected = {"images": [1, 3, height, width], "output0": list(answer)}
    if found != expected:
        raise ExportError(f"expected the inputs and outputs {expected}, but the exported file has {found}")


def parity(network: Any, path: Path, width: int, height: int, threads: int) -> float:
    """The largest difference between `network` and the ONNX file on three inputs: noise, grey and a ramp.

    Boxes are compared as a share of the longer side of the input, an anomaly map as it is; infinity where an answer is
    not finite.
    """
    os.environ.update([TELEMETRY_SWITCH])  # before the import, which reads it
    import onnxruntime as ort
    import torch

    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    configure(options, threads)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    ramp = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (1, 3, height, width))
    worst = 0.0
    for tensor in (noise, np.full_like(noise, 114 / 255), np.ascontiguousarray(ramp)):
        with torch.no_grad():
            answer = network(torch.from_numpy(tensor))
        ours = (answer[0] if isinstance(answer, tuple | list) else answer).numpy()
        theirs = session.run(None, {"images": tensor})[0]
        scale = np.ones((1, ours.shape[1], *[1] * (ours.ndim - 2)), np.float32)
        if ours.ndim == 3:
            scale[:, :4] = 1 / max(width, height)
        # A value that is not finite on either side counts as an infinite difference.
        difference = np.abs((ours - theirs) * scale)
        worst = max(worst, float(np.where(np.isfinite(difference), difference, np.inf).max()))
    return worst
