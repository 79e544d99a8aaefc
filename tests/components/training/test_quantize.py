"""The int8 variant: what stays in float, what it is calibrated on, and that it answers nearly as before."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.training.quantize import QuantizationError, box_decoding, images_to_read, quantize_int8
from inspection.preprocess import Preprocess, letterbox
from tests.components.training.small_detector import small_detector

PREPROCESS = Preprocess(64, 32)


def pictures(count: int = 8):
    rng = np.random.default_rng(7)
    return [rng.integers(0, 255, (48, 96, 3), np.uint8) for _ in range(count)]


def run(path, tensor):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": tensor})[0]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(small_detector(), str(path))
    return path


def test_the_int8_variant_answers_nearly_as_the_model_it_came_from(model, tmp_path):
    """The form of the output is the same, boxes are within some pixels, scores within hundredths."""
    quantized = quantize_int8(model, iter(pictures()), PREPROCESS, tmp_path / "int8" / "model.onnx")
    tensor, _ = letterbox(pictures(9)[-1], PREPROCESS)
    before, after = run(model, tensor), run(quantized, tensor)
    assert after.shape == before.shape
    assert np.abs(after[:, 4:] - before[:, 4:]).max() < 0.03
    assert np.abs(after[:, :4] - before[:, :4]).max() < 0.05 * np.abs(before[:, :4]).max()
    assert np.abs(after - before).max() > 0


def test_weights_are_seven_bit_integers_and_the_box_decoding_stays_in_float(model, tmp_path):
    """Eight bits would overflow without VNNI, and are too few for decoded boxes."""
    quantized = onnx.load(str(quantize_int8(model, pictures(), PREPROCESS, tmp_path / "int8.onnx")))
    held = {item.name: numpy_helper.to_array(item) for item in quantized.graph.initializer}
    integers = [value for value in held.values() if value.dtype == np.int8 and value.ndim == 4]
    assert [value.shape for value in integers] == [(16, 3, 8, 8), (6, 16, 3, 3)]
    assert all(np.abs(value).max() <= 64 for value in integers)
    producer = {output: node for node in quantized.graph.node for output in node.output}
    for node in quantized.graph.node:
        if node.name in ("split", "to_pixels", "squash", "join"):
            assert all(producer[item].op_type != "DequantizeLinear" for item in node.input if item in producer)
    assert {item.key: item.value for item in quantized.metadata_props}["classes"] == '["scratch", "dent"]'


def test_the_same_model_and_images_give_the_same_bytes(model, tmp_path):
    """The digest of the variant depends on model and images alone."""
    first = quantize_int8(model, pictures(), PREPROCESS, tmp_path / "1.onnx").read_bytes()
    second = quantize_int8(model, pictures(), PREPROCESS, tmp_path / "2.onnx").read_bytes()
    assert first == second
    assert str(tmp_path).encode() not in first


def test_without_an_image_there_is_nothing_to_calibrate_on(model, tmp_path):
    """Without an image there is an error, and no file is written."""
    with pytest.raises(QuantizationError, match="expected images to calibrate on"):
        quantize_int8(model, [], PREPROCESS, tmp_path / "int8.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_another_input_size_than_the_release_says_is_refused(model, tmp_path):
    """Ranges that were measured at another input size would be wrong on the device."""
    with pytest.raises(QuantizationError, match=r"expected one static input of shape \[1, 3, 64, 64\]"):
        quantize_int8(model, pictures(), Preprocess(64, 64), tmp_path / "int8.onnx")


def test_the_decoding_is_all_from_the_flattening_on_and_a_model_without_is_refused():
    """The nodes from the flattening on stay in float; the convolutions before it are quantised."""
    shaped = onnx.shape_inference.infer_shapes(small_detector())
    assert box_decoding(shaped) == ["flatten", "split", "to_pixels", "squash", "join"]
    with pytest.raises(QuantizationError, match="flatten the feature maps"):
        box_decoding(onnx.shape_inference.infer_shapes(small_detector(flattened=False)))


@pytest.mark.parametrize(("side", "images"), [(32, 48), (2000, 48), (4000, 15), (20000, 8)])
def test_what_is_kept_in_memory_while_it_is_calibrated_is_bounded(side, images):
    """Intermediate results take at most two gigabytes, but some images are read in any case."""
    value = helper.make_tensor_value_info("wide", TensorProto.FLOAT, [1, 2, side, side])
    graph = helper.make_graph([], "bounded", [], [], value_info=[value])
    assert images_to_read(helper.make_model(graph)) == images
