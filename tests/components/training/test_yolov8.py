"""A real training, small enough for a test, in a process of its own that can reach no network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from generated_dataset import generated_line

from components.training.dataset_folder import write_dataset
from components.training.export import PARITY_TOLERANCE
from components.training.quantize import quantize_int8
from inspection.decode import Nms
from inspection.image import decode_image, sha256_of
from inspection.inspector import Inspector
from inspection.preprocess import Preprocess, letterbox
from inspection.verdict import ClassThreshold

# Every look for a name and every connection is an error here, and is written down.
_SCRIPT = """
import json, socket, sys
from pathlib import Path
reached = []
def refuse(*args, **kwargs):
    reached.append(repr(args[-1:]))
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse

from components.training.trainer import DetectionDataset, TrainingError
from components.training.yolov8 import UltralyticsTrainer
from components.use_case import TrainingSettings

order = json.loads(sys.argv[1])
dataset = DetectionDataset(
    Path(order["folder"]), Path(order["data_file"]), tuple(order["classes"]), order["images"], "d" * 64
)
answer = {"epochs": [], "onnx": [], "record": None, "error": None}
try:
    for i in range(order["times"]):
        base = Path(order["base"]) if order["base"] else None
        trained = UltralyticsTrainer(threads=2, base_weights=base).train(
            dataset, TrainingSettings(**order["settings"]), Path(order["workdir"]) / str(i),
            lambda epoch, numbers: answer["epochs"].append([epoch, dict(numbers)]),
        )
        answer["onnx"].append(str(trained.onnx_path))
        answer["record"] = dict(trained.record)
except TrainingError as e:
    answer["error"] = str(e)
answer["reached"] = reached
Path(order["answer"]).write_text(json.dumps(answer))
"""

_SETTINGS = {"width_multiple": 0.0625, "image_width": 96, "image_height": 64, "epochs": 2, "batch": 4, "seed": 3}


def _train(dataset, tmp_path: Path, *, times: int = 1, base: Path | None = None):
    order = {
        "folder": str(dataset.folder),
        "data_file": str(dataset.data_file),
        "classes": dataset.classes,
        "images": dict(dataset.images),
        "settings": _SETTINGS,
        "workdir": str(tmp_path / "work"),
        "answer": str(tmp_path / "answer.json"),
        "times": times,
        "base": str(base) if base else "",
    }
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(order)], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "answer.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trained twice with the same seed."""
    folder = tmp_path_factory.mktemp("training")
    line = generated_line(class_name="傷")
    dataset = write_dataset(line.manifest, line.fetch, folder / "dataset")
    return line, dataset, _train(dataset, folder, times=2)


def test_training_reaches_for_no_network(trained):
    """Not a name looked up, not a connection tried: no font, no weights, no telemetry, no package."""
    _, _, answer = trained
    assert answer["error"] is None
    assert answer["reached"] == []


def test_each_epoch_is_told_with_its_losses(trained):
    """Numbered from 1; scores come with the last."""
    _, _, answer = trained
    assert [epoch for epoch, _ in answer["epochs"]] == [1, 2, 1, 2]
    for _, numbers in answer["epochs"]:
        assert numbers["train/box_loss"] > 0
    assert "metrics/mAP50" in answer["epochs"][1][1]


def test_the_onnx_is_static_rectangular_and_says_what_the_network_says(trained):
    """One image in, boxes and scores out, within the tolerance of the network it came from."""
    _, _, answer = trained
    session = ort.InferenceSession(answer["onnx"][0], providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert given.shape == [1, 3, 64, 96]
    (output,) = session.run(None, {given.name: np.zeros(given.shape, np.float32)})
    assert output.shape == (1, 5, 12 * 8 + 6 * 4 + 3 * 2)
    assert answer["record"]["parity_max_difference"] <= PARITY_TOLERANCE
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["傷"]


def test_the_device_can_inspect_with_it(trained):
    """Through `inspection`, as it will run: boxes inside the image, of the class that the use case names."""
    line, _, answer = trained
    session = ort.InferenceSession(answer["onnx"][0], providers=["CPUExecutionProvider"])
    inspector = Inspector(
        lambda tensor: session.run(None, {"images": tensor})[0],
        Preprocess(96, 64),
        ("傷",),
        {"傷": ClassThreshold(fail=0.9, uncertain=0.0001)},
        Nms(),
    )
    found = inspector.inspect(decode_image(next(iter(line.images.values())))).detections
    assert found
    for detection in found:
        x1, y1, x2, y2 = detection.box.xyxy
        assert 0 <= x1 < x2 <= 450
        assert 0 <= y1 < y2 <= 300


def test_its_int8_variant_says_nearly_the_same(trained, tmp_path):
    """Calibrated on its training images; the box decoding of the real network is found and left alone."""
    line, _, answer = trained
    images = [decode_image(data) for data in line.images.values()]
    path = Path(answer["onnx"][0])
    quantized = quantize_int8(path, images, Preprocess(96, 64), tmp_path / "int8.onnx")
    tensor, _ = letterbox(images[0], Preprocess(96, 64))
    before, after = (
        ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, {"images": tensor})[0]
        for model in (path, quantized)
    )
    assert np.abs(after[:, 4:] - before[:, 4:]).max() < 0.05
    assert np.abs(after[:, :4] - before[:, :4]).max() < 8


def test_the_same_seed_gives_the_same_bytes(trained):
    """Nothing in the file tells when or where it was made."""
    _, _, answer = trained
    first, second = (Path(path).read_bytes() for path in answer["onnx"])
    assert first == second
    assert answer["record"]["model_sha256"] == sha256_of(first)
    assert b"/tmp" not in first


def test_base_weights_are_taken_and_a_file_with_code_is_refused(trained, tmp_path):
    """A checkpoint of an earlier training is a start; a pickle that would run something is not."""
    _, dataset, answer = trained
    checkpoint = Path(answer["onnx"][0]).parent / "ultralytics" / "weights" / "best.pt"
    again = _train(dataset, tmp_path, base=checkpoint)
    assert again["error"] is None
    assert again["record"]["tensors_from_base_weights"] > 100

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-here",))

    import torch

    evil = tmp_path / "evil.pt"
    torch.save({"model": Evil()}, evil)
    refused = _train(dataset, tmp_path, base=evil)
    assert "evil.pt" in refused["error"]
    assert not (tmp_path / "was-here").exists()
