"""What every trainer must do, whatever library it uses. A new trainer is one more line of `TRAINERS`."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxruntime.quantization.shape_inference import quant_pre_process

from components.training.dataset_folder import write_dataset
from components.training.detectors import TRAINERS
from components.training.onnx_file import PARITY_TOLERANCE
from components.training.quantize import box_decoding, quantize_int8
from inspection.decode import Nms
from inspection.image import decode_image, sha256_of
from inspection.inspector import Inspector
from inspection.outputs import ANOMALY_MAP, BOXES
from inspection.preprocess import Preprocess, letterbox
from inspection.verdict import ClassThreshold
from tests.components.training.generated_dataset import generated_line
from tests.components.training.trainer_process import SETTINGS, Step, run

WIDTH, HEIGHT = SETTINGS["image_width"], SETTINGS["image_height"]
CLASSES = ["傷", "dent"]


@dataclass(frozen=True)
class Kind:
    """What a trainer answers, and in how many epochs of the settings below."""

    name: str
    settings: Mapping[str, Any]
    epochs: int
    output: str = BOXES

    @property
    def classes(self) -> list[str]:
        return CLASSES if self.output == BOXES else ["anomaly"]


def kind_of(name: str) -> Kind:
    """Detectors take the same settings. What learns from good parts alone learns in one pass and answers a map."""
    if name == "patchcore":
        one_size = {"detector": name, "image_width": WIDTH, "image_height": HEIGHT, "seed": SETTINGS["seed"]}
        return Kind(name, one_size, 1, ANOMALY_MAP)
    return Kind(name, SETTINGS, SETTINGS["epochs"])


@pytest.fixture(scope="module", params=[kind_of(name) for name in TRAINERS], ids=list(TRAINERS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def trained(kind, tmp_path_factory):
    """Trained whole, twice; then from checkpoints: of the first epoch, of other libraries, of no state, of no network
    of this kind; then with a dataset without images."""
    folder = tmp_path_factory.mktemp("training")
    detects = kind.output == BOXES
    line = generated_line(class_name="傷", defect_rate=1.0 if detects else 0.0)
    dataset = write_dataset(line.manifest, line.fetch, folder / "dataset", needs_defects=detects)
    dataset = type(dataset)(dataset.folder, dataset.data_file, tuple(CLASSES), dataset.images, dataset.digest)
    dataset.data_file.write_text(json.dumps({**json.loads(dataset.data_file.read_text()), "names": ["c0", "c1"]}))
    empty = type(dataset)(dataset.folder, dataset.data_file, dataset.classes, {"train": 0, "val": 3}, "d")
    other = {"width_multiple": 0.125} if detects else {"seed": 4}
    answer = run(
        TRAINERS[kind.name],
        folder,
        Step(dataset),
        Step(dataset),
        Step(dataset, after=1),
        Step(dataset, after=1, versions={"torch": "0.1"}),
        Step(dataset, after=1, state="no state"),
        Step(dataset, after=1, settings=other),
        Step(empty),
        common=kind.settings,
    )
    names = ("first", "second", "resumed", "of_others", "damaged", "other_network", "empty")
    return line, folder, answer, dict(zip(names, answer["steps"], strict=True))


def session(step):
    return ort.InferenceSession(step["onnx"], providers=["CPUExecutionProvider"])


def test_it_reaches_for_no_network(trained):
    """No name is looked up and no connection is tried, for fonts, weights, telemetry or packages."""
    _, _, answer, steps = trained
    assert steps["first"]["error"] == ""
    assert answer["reached"] == []
    assert answer["telemetry_off"]


def test_it_writes_below_its_folder_and_the_datasets_alone(trained):
    """Other files are only those that a library keeps for its process, in a temporary folder of its name."""
    _, folder, answer, _ = trained
    allowed = (str(folder / "work"), str(folder / "dataset"), f"{tempfile.gettempdir()}/kizu-", "/dev/", "/proc/")
    others = [name for name in answer["written"] if not name.startswith(allowed) and "__pycache__" not in name]
    assert others == []
    assert any(name.startswith(str(folder / "work")) for name in answer["written"])


def test_each_epoch_is_told_once_with_numbers(kind, trained):
    """Epochs are numbered from 1; those before a checkpoint are repeated with their numbers."""
    *_, steps = trained
    for name in ("first", "second", "resumed") if kind.epochs > 1 else ("first", "second"):
        assert [epoch for epoch, _ in steps[name]["epochs"]] == list(range(1, kind.epochs + 1))
        for _, numbers in steps[name]["epochs"]:
            assert numbers
            assert all(np.isfinite(value) for value in numbers.values())
    if kind.epochs > 1:
        assert steps["resumed"]["epochs"] == steps["first"]["epochs"]


def test_the_onnx_is_static_rectangular_and_says_what_the_network_says(kind, trained):
    """The file takes one image and returns (1, 4 + classes, places) or a map, within the tolerance of its network."""
    *_, steps = trained
    model = session(steps["first"])
    (given,) = model.get_inputs()
    (answered,) = model.get_outputs()
    assert given.shape == [1, 3, HEIGHT, WIDTH]
    (output,) = model.run(None, {given.name: np.zeros(given.shape, np.float32)})
    assert list(output.shape) == answered.shape
    assert output.shape[:2] == (1, 4 + len(CLASSES) if kind.output == BOXES else 1)
    scores = output[:, 4:] if kind.output == BOXES else output
    assert ((scores >= 0) & (scores <= 1)).all()
    assert steps["first"]["record"]["parity_max_difference"] <= PARITY_TOLERANCE
    assert json.loads(model.get_modelmeta().custom_metadata_map["classes"]) == kind.classes
    onnx.checker.check_model(onnx.load(steps["first"]["onnx"]), full_check=True)


def test_the_device_can_inspect_with_it(kind, trained):
    """`inspection` finds boxes inside the image, of classes that the use case names."""
    line, _, _, steps = trained
    model = session(steps["first"])
    name = model.get_inputs()[0].name
    inspector = Inspector(
        lambda tensor: model.run(None, {name: tensor})[0],
        Preprocess(WIDTH, HEIGHT),
        tuple(kind.classes),
        {name: ClassThreshold(fail=0.9, uncertain=0.0001) for name in kind.classes},
        Nms(),
        output=kind.output,
    )
    found = inspector.inspect(decode_image(list(line.images.values())[-1])).detections  # of the test split
    assert found
    for detection in found:
        x1, y1, x2, y2 = detection.box.xyxy
        assert 0 <= x1 < x2 <= 450
        assert 0 <= y1 < y2 <= 300


def test_of_its_convolutions_int8_leaves_out_those_of_the_box_decoding_alone(trained):
    """All convolutions before the box decoding are quantised, also around a group norm, which flattens too."""
    _, folder, _, steps = trained
    prepared = folder / "prepared.onnx"
    quant_pre_process(steps["first"]["onnx"], str(prepared), skip_symbolic_shape=True)
    model = onnx.load(str(prepared))
    left_out = set(box_decoding(model))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    fed = {item for node in model.graph.node if node.name in left_out for item in node.output}
    assert [node.name for node in convolutions if node.name in left_out and fed.isdisjoint(node.input)] == []
    assert len([node for node in convolutions if node.name not in left_out]) > 0.9 * len(convolutions)


def test_its_int8_variant_says_nearly_the_same(kind, trained, tmp_path):
    """An int8 model, calibrated on training images and with float box decoding, gives nearly the fp32 scores.

    Eight bits are coarse beside the distances between good parts, so of a map only the form is promised: evaluation
    keeps a variant only where it finds the same.
    """
    line, _, _, steps = trained
    images = [decode_image(data) for data in line.images.values()]
    path = Path(steps["first"]["onnx"])
    quantized = quantize_int8(path, images, Preprocess(WIDTH, HEIGHT), tmp_path / "int8.onnx")
    tensor, _ = letterbox(images[0], Preprocess(WIDTH, HEIGHT))
    before, after = (
        ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, {"images": tensor})[0]
        for model in (path, quantized)
    )
    if kind.output == ANOMALY_MAP:
        assert after.shape == before.shape
        assert ((after > 0) & (after <= 1)).all()
        return
    assert np.abs(after[:, 4:] - before[:, 4:]).max() < 0.05
    assert np.abs(after[:, :4] - before[:, :4]).max() < 8


def test_the_same_seed_gives_the_same_bytes(trained):
    """The file has no trace of when or where it was made."""
    *_, steps = trained
    first, second = (Path(steps[name]["onnx"]).read_bytes() for name in ("first", "second"))
    assert first == second
    assert steps["first"]["record"]["model_sha256"] == sha256_of(first)
    assert b"/tmp" not in first


def test_the_record_says_how_it_came_about(kind, trained):
    """The record has what the job stores and later steps read."""
    *_, steps = trained
    record = steps["first"]["record"]
    assert record["schema_version"] == 1
    assert record["classes"] == CLASSES
    assert (record["epochs_run"], record["resumed_after_epoch"]) == (kind.epochs, 0)
    assert record["settings"]["image_width"] == WIDTH
    assert record["input"] == {"width": WIDTH, "height": HEIGHT}
    assert record["images"]["train"] == 8
    assert record["device"] == "cpu"
    assert {"torch", "onnx"} <= record["versions"].keys()
    assert record["parameters"] > 0


def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(kind, trained):
    """There is a checkpoint after each epoch but the last, and the continued model is the same byte for byte."""
    *_, steps = trained
    assert steps["first"]["kept"] == list(range(1, kind.epochs))
    if kind.epochs == 1:
        return  # nothing to go on from
    assert steps["resumed"]["kept"] == list(range(2, kind.epochs))
    assert steps["resumed"]["record"]["resumed_after_epoch"] == 1
    assert Path(steps["resumed"]["onnx"]).read_bytes() == Path(steps["first"]["onnx"]).read_bytes()


@pytest.mark.parametrize("name", ["of_others", "damaged", "other_network"])
def test_a_checkpoint_that_is_not_its_own_is_refused_before_an_epoch(trained, name):
    """Other libraries, no state and another network are refused in one line, so that the job can begin anew."""
    *_, steps = trained
    assert steps[name]["kind"] == "CheckpointError"
    assert "\n" not in steps[name]["error"]
    assert steps[name]["epochs"] == []


def test_nothing_to_learn_from_is_refused(trained):
    """A dataset without a training image is refused."""
    *_, steps = trained
    assert steps["empty"]["kind"] == "TrainingError"
    assert "no training image" in steps["empty"]["error"]
