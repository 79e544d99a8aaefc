"""The arithmetic of a network, counted from its graph: two operations per multiply-add."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import onnx
import onnxruntime


def count_flops(path: Path) -> int:
    """FLOPs of the convolutions and matrix products in one run of a static ONNX model. The rest is memory traffic."""
    # onnxruntime first computes the values that depend on the fixed shape alone. Else most shapes cannot be inferred.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "static.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.shape_inference.infer_shapes(onnx.load(options.optimized_model_filepath))
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    shapes |= {item.name: list(item.dims) for item in model.graph.initializer}
    return sum(_of_node(node, shapes) for node in model.graph.node)


def _of_node(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type == "Conv":
        weights = shapes[node.input[1]]  # (out, in / groups, kernel height, kernel width)
        return 2 * math.prod(shapes[node.output[0]]) * math.prod(weights[1:])
    if node.op_type in ("MatMul", "Gemm"):
        return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return 0
