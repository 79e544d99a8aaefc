"""A detector small enough to compute by hand, as ONNX bytes, and pictures that it scores as a test asks for."""

from __future__ import annotations

import io

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from inspection.geometry import Box

MARK = Box(16, 16, 16, 16)


def brightness_model(*, scale=1.0, side=64, rows=5) -> bytes:
    """A detector that always sees one box, (16, 16) to (32, 32), and scores it by the mean brightness there."""
    where = np.zeros((1, 3, side, side), np.float32)
    where[:, :, 16:32, 16:32] = scale / (3 * 16 * 16)
    box = np.array([[[24], [24], [16], [16]]], np.float32)
    nodes = [
        helper.make_node("Mul", ["images", "where"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["score"], keepdims=0),
        helper.make_node("Reshape", ["score", "shape"], ["row"]),
        helper.make_node("Concat", ["box", *["row"] * (rows - 4)], ["output0"], axis=1),
    ]
    constants = {
        "where": where, "axes": np.array([0, 1, 2, 3], np.int64), "shape": np.array([1, 1, 1], np.int64), "box": box,
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, rows, 1])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def png(brightness, seed):
    """Black with a square of this brightness where the model looks, and a pixel that makes the bytes its own."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:32, 16:32] = brightness
    pixels[0, 0] = seed
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
