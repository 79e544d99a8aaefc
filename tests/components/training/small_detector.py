"""A small detector as ONNX, built like an export of YOLOv8, that quantises in a moment."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def small_detector(*, flattened: bool = True) -> onnx.ModelProto:
    """Two convolutions with YOLOv8's activation, then an end like its own: flattened, split, scores squashed."""
    rng = np.random.default_rng(5)

    def weights(name, *shape):
        return numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype("f4"), name)

    nodes = [
        helper.make_node("Conv", ["images", "w0"], ["c0"], "conv0", strides=[8, 8], kernel_shape=[8, 8]),
        helper.make_node("Sigmoid", ["c0"], ["s0"], "sigmoid0"),
        helper.make_node("Mul", ["c0", "s0"], ["a0"], "mul0"),
        helper.make_node("Conv", ["a0", "w1"], ["c1"], "conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c1", "flat"], ["r"], "flatten"),
        helper.make_node("Split", ["r", "parts"], ["boxes", "logits"], "split", axis=1),
        helper.make_node("Mul", ["boxes", "stride"], ["pixels"], "to_pixels"),
        helper.make_node("Sigmoid", ["logits"], ["scores"], "squash"),
        helper.make_node("Concat", ["pixels", "scores"], ["output0"], "join", axis=1),
    ]
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 64])
    answer = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, 32])
    if not flattened:
        nodes, answer = nodes[:4], helper.make_tensor_value_info("c1", TensorProto.FLOAT, [1, 6, 4, 8])
    constants = [
        weights("w0", 16, 3, 8, 8),
        weights("w1", 6, 16, 3, 3),
        numpy_helper.from_array(np.array([1, 6, 32]), "flat"),
        numpy_helper.from_array(np.array([4, 2]), "parts"),
        numpy_helper.from_array(np.array(300, np.float32), "stride"),
    ]
    graph = helper.make_graph(nodes, "small", [given], [answer], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"classes": '["scratch", "dent"]'})
    onnx.checker.check_model(model, full_check=True)
    return model
