"""The int8 variant of an exported detector: static, calibrated on training images, with box decoding in float."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.training.trainer import DetectionDataset, TrainingError
from inspection.image import decode_image
from inspection.model_rules import TELEMETRY_SWITCH
from inspection.preprocess import Preprocess, letterbox

_log = logging.getLogger(__name__)

# The operators between the convolutions are quantised too; else each convolution would convert to float and back.
_OPERATORS: Final = ("Conv", "Concat", "MaxPool", "Resize", "Slice", "Split", "Add", "Sigmoid", "Mul")

CALIBRATION_IMAGES: Final = 48
_FEWEST_IMAGES: Final = 8
_CALIBRATION_BYTES: Final = 2_000_000_000


class QuantizationError(TrainingError):
    """The model cannot be quantised, or there is no image to calibrate it on."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The int8 variant of a training, or why there is none."""

    path: Path | None
    reason: str = ""


def make_variant(model_path: Path, dataset: DetectionDataset, preprocess: Preprocess, output_path: Path) -> Variant:
    """Quantise a trained model, calibrated on images of its training split.

    A failure fails no training: the variant then has no path and a reason.
    """
    files = sorted((dataset.folder / "images" / "train").iterdir())
    chosen = files[:: max(1, len(files) // CALIBRATION_IMAGES)][:CALIBRATION_IMAGES]
    try:
        made = quantize_int8(model_path, (decode_image(file.read_bytes()) for file in chosen), preprocess, output_path)
    except Exception as e:  # the quantiser's errors have no common base class
        reason = f"{type(e).__name__}: {e}"[:500]
        _log.warning("no int8 variant: %s", reason)
        return Variant(None, reason)
    return Variant(made)


def quantize_int8(
    model_path: Path, images: Iterable[NDArray[np.uint8]], preprocess: Preprocess, output_path: Path
) -> Path:
    """Write an int8 variant of a static ONNX detector; returns `output_path`.

    Weights are signed and per channel, activations unsigned, as QDQ nodes, which every runtime in use reads. Weights
    have seven bits: on processors without VNNI, products of eight bits overflow and the model finds nothing. Boxes are
    decoded in float: eight bits that must span coordinates of hundreds of pixels have no steps left for scores.

    Args:
        images: (h, w, 3) uint8 BGR, at least one, of the training split, never of the test split. Only the first few
            dozen are read (`images_to_read`), so they must not be sorted by what they show.
        preprocess: as in the release, so that calibration sees the ranges that the device will see.

    Raises:
        QuantizationError: there is no image, the model's input is not the static one of `preprocess`, or no box
            decoding is found in the model.
    """
    os.environ.update([TELEMETRY_SWITCH])  # before the import, which reads it
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    output_path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kizu-int8-", dir=output_path.parent) as folder:
        prepared, written = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        # Folds what depends on the fixed shape alone, such as where the network splits its channels.
        quant_pre_process(str(model_path), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(str(prepared))
        name = _input_name(model, preprocess)
        quantize_static(
            str(prepared),
            str(written),
            _Reader(name, islice(images, images_to_read(model)), preprocess),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            nodes_to_exclude=box_decoding(model),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            # One outlier must not widen the steps of all other values. docs/benchmarks.md has the loss of mAP50.
            calibrate_method=CalibrationMethod.Percentile,
        )
        written.replace(output_path)
    return output_path


def images_to_read(model: Any) -> int:
    """The number of calibration images: onnxruntime keeps every layer's output for each of them in memory.

    Args:
        model: an onnx.ModelProto with inferred shapes.
    """
    shapes = ([dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info)
    an_image: int = 4 * sum(math.prod(shape) for shape in shapes)
    return max(_FEWEST_IMAGES, min(CALIBRATION_IMAGES, int(_CALIBRATION_BYTES // max(1, an_image))))


def box_decoding(model: Any) -> list[str]:
    """The names of the nodes from those that flatten the feature maps to (1, channels, n) to the end.

    Args:
        model: an onnx.ModelProto with inferred shapes and named nodes.

    Raises:
        QuantizationError: no node flattens the feature maps, so the model is no detector of ours.
    """
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*model.graph.value_info, *model.graph.output)
    }
    # A group norm contains a Reshape too, which is not this one.
    normalised = {item for node in model.graph.node if node.op_type == "InstanceNormalization" for item in node.input}
    reached: set[str] = set()
    nodes = []
    for node in model.graph.node:  # in topological order, as ONNX demands
        flattens = (
            node.op_type == "Reshape"
            and any(ranks.get(item) == 3 for item in node.output)
            and normalised.isdisjoint(node.output)
        )
        if flattens or reached.intersection(node.input):
            reached.update(node.output)
            nodes.append(node.name)
    if not nodes or not all(nodes):
        raise QuantizationError(
            "expected named nodes that flatten the feature maps to (1, channels, n), as our exports have them, "
            f"but found {len(nodes)} in {len(model.graph.node)} nodes"
        )
    return nodes


class _Reader:
    """The calibration inputs as onnxruntime asks for them: one after another, then None."""

    def __init__(self, name: str, images: Iterable[NDArray[np.uint8]], preprocess: Preprocess) -> None:
        self._inputs = self._read(name, images, preprocess)

    @staticmethod
    def _read(
        name: str, images: Iterable[NDArray[np.uint8]], preprocess: Preprocess
    ) -> Iterator[dict[str, NDArray[np.float32]]]:
        count = 0
        for image in images:
            count += 1
            yield {name: letterbox(image, preprocess)[0]}
        if count == 0:
            raise QuantizationError("expected images to calibrate on, but got none; pass some of the training split")
        _log.info("calibrated on %d images", count)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)


def _input_name(model: Any, preprocess: Preprocess) -> str:
    expected = [1, 3, preprocess.height, preprocess.width]
    found = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.input}
    if list(found.values()) != [expected]:
        raise QuantizationError(f"expected one static input of shape {expected}, but the model has {found}")
    return str(next(iter(found)))
