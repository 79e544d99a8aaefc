"""FCOS: what it is shown, what it begins from, what it refuses. The contract of all trainers is tested beside this."""

import importlib.util
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from components.training.base_weights import make_from_generated_parts
from components.training.dataset_folder import write_dataset
from components.training.detectors import trainer_of
from components.training.fcos import FcosTrainer
from components.training.fcos_images import Images, batch_of
from components.training.fcos_network import Answered, Deployed, losses_of, network_of, places, reached
from components.training.onnx_file import ExportError, write_onnx
from components.training.trainer import CheckpointError, DetectionDataset, TrainingError
from components.use_case import Augmentation, Pretraining, TrainingSettings, UseCaseError, parse_use_case
from tests.components.training.generated_dataset import generated_line

SMALL = TrainingSettings(
    detector="fcos", width_multiple=0.0625, image_width=96, image_height=64, batch=4, epochs=2, seed=3
)


@pytest.fixture
def bright(tmp_path):
    """Four black images of another size than the input, each with one white, labelled rectangle."""
    rng = np.random.default_rng(3)
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
    for number in range(4):
        picture = np.zeros((120, 200, 3), np.uint8)
        x, y = int(rng.integers(0, 140)), int(rng.integers(0, 80))
        picture[y : y + 30, x : x + 50] = 255
        cv2.imwrite(str(tmp_path / "images" / "train" / f"{number}.png"), picture)
        line = f"1 {(x + 25) / 200} {(y + 15) / 120} {50 / 200} {30 / 120}\n"
        (tmp_path / "labels" / "train" / f"{number}.txt").write_text(line)
    return DetectionDataset(tmp_path, tmp_path / "data.yaml", ("a", "b"), {"train": 4, "val": 0}, "d" * 64)


@pytest.mark.parametrize("augmentation", [None, Augmentation(mosaic=0.0), Augmentation(mosaic=1.0, scale=0.0)])
def test_boxes_stay_on_what_they_mark(bright, augmentation):
    """After letterbox, flips, shifts, scaling and mosaic, the bright pixels still lie in their box."""
    images = Images(bright, "train", SMALL, augmentation)
    torch.manual_seed(1)
    seen = 0
    for index in [0, 1, 2, 3] * 5:
        picture, (target,) = batch_of([images[index]])
        assert picture.shape == (1, 3, 64, 96)
        covered = torch.zeros(64, 96, dtype=torch.bool)
        for x1, y1, x2, y2 in target["boxes"].tolist():
            covered[round(y1) : round(y2), round(x1) : round(x2)] = True
            inside = picture[0, 0, int(y1) + 1 : int(y2) - 1, int(x1) + 1 : int(x2) - 1]
            assert inside.numel() == 0 or inside.mean() > 0.6
            seen += 1
        away = torch.nn.functional.max_pool2d(covered[None, None].float(), 7, 1, 3)[0, 0] == 0
        # What is left of a rectangle at the rim may be too little for a box.
        assert (picture[0, 0][away] > 0.6).float().mean() < 0.03
        assert set(target["labels"].tolist()) <= {1}
    assert seen >= 10


def test_the_places_of_a_map_are_squares_that_touch():
    """The places are row by row, in input pixels."""
    found = places(2, 3, 8, torch.zeros(1))
    assert found.tolist()[:3] == [[0, 0, 8, 8], [8, 0, 16, 8], [16, 0, 24, 8]]
    assert found.tolist()[-1] == [16, 8, 24, 16]


def test_what_is_deployed_answers_with_the_boxes_that_the_losses_measure():
    """The exported decoding equals torchvision's own, one column for each place."""
    torch.manual_seed(0)
    network = network_of(SMALL, 2).eval()
    torch.nn.init.normal_(network.head.regression_head.bbox_reg.bias, 1.0)  # boxes of many sizes
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        output = Deployed(network, 96, 64).eval()(images)[0]
        answered = network.head(list(network.backbone(images).values()))
        squares = torch.cat([places(64 // stride, 96 // stride, stride, images) for stride in (8, 16, 32)])
        expected = network.box_coder.decode(answered["bbox_regression"][0], squares)
    assert output.shape == (6, 12 * 8 + 6 * 4 + 3 * 2)
    centre, half = output[:2].T, output[2:4].T / 2
    torch.testing.assert_close(torch.cat([centre - half, centre + half], dim=1), expected)
    scores = (answered["cls_logits"][0].sigmoid() * answered["bbox_ctrness"][0].sigmoid()).sqrt()
    torch.testing.assert_close(output[4:].T, scores)


def test_an_image_without_a_box_is_learned_from(bright):
    """In an image of a good part, every place is background."""
    network = network_of(SMALL, 2)
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    with torch.no_grad():
        losses, count = losses_of(network, torch.rand(2, 3, 64, 96), [empty, empty])
    assert count == 0
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert float(losses["classification"]) > 0


def test_every_box_has_a_place_that_answers_for_it():
    """A thin or long box gets a place at any position. A box that has a place already does not change."""
    rng = np.random.default_rng(2)
    low = rng.uniform(0, [310, 214], (500, 2))
    size = rng.uniform(1, [1, 1], (500, 2)) * rng.choice([1, 5, 20, 100, 300], (500, 2))
    boxes = torch.tensor(np.concatenate([low, np.minimum(low + size, [320, 224])], axis=1), dtype=torch.float32)
    widened = reached(boxes, 320, 224)
    assert (widened[:, :2] <= boxes[:, :2]).all()
    assert (widened[:, 2:] >= boxes[:, 2:]).all()
    assert (widened - boxes).abs().max() <= 32
    network = network_of(SMALL, 2).eval()
    thin = 0
    for box, wide in zip(boxes, widened, strict=True):
        target = {"boxes": box[None], "labels": torch.tensor([1])}
        with torch.no_grad():
            losses, count = losses_of(network, torch.zeros(1, 3, 224, 320), [target])
        assert count >= 1, box
        assert all(torch.isfinite(loss) for loss in losses.values())
        thin += not torch.equal(box, wide)
    assert 50 < thin < 450


def test_boxes_are_learned_from_wherever_training_begins():
    """Where a few unlucky steps predict no box at any place, there is still a gradient that leads back."""
    torch.manual_seed(0)
    network = network_of(SMALL, 2).train()
    torch.nn.init.constant_(network.head.regression_head.bbox_reg.bias, -3.0)
    picture = torch.zeros(1, 3, 64, 96)
    picture[:, :, 16:48, 32:80] = 1.0
    target = {"boxes": torch.tensor([[32.0, 16.0, 80.0, 48.0]]), "labels": torch.tensor([1])}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
    told = []
    for _ in range(60):
        losses, count = losses_of(network, picture, [target])
        optimizer.zero_grad()
        losses["bbox_regression"].backward()
        optimizer.step()
        told.append(float(losses["bbox_regression"].detach()) / count)
    assert told[0] > 0.9
    assert told[-1] < 0.5, told


def test_it_begins_from_weights_of_its_own(tmp_path):
    """Weights from generated parts, as for YOLOv8, are loaded; all tensors of the same network fit."""
    settings = SMALL.model_copy(update={"pretraining": Pretraining(parts=20, epochs=1, defect_rate=1.0)})
    weights, record = make_from_generated_parts(settings, tmp_path)
    assert record["epochs_run"] == 1
    line = generated_line()
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "dataset")
    told = []
    trained = FcosTrainer(1, weights).train(dataset, SMALL, tmp_path / "w", lambda *n: told.append(n))
    assert trained.record["tensors_from_base_weights"] == len(network_of(SMALL, 1).state_dict())
    other = SMALL.model_copy(update={"width_multiple": 1.0})
    with pytest.raises(TrainingError, match="are of another network; train with the `model` and `width_multiple`"):
        FcosTrainer(1, weights).train(dataset, other, tmp_path / "o", lambda *_: None)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04"])
def test_what_are_no_weights_of_its_own_are_refused_in_one_line(tmp_path, content):
    """A pickle with code is refused too, and its code is not run."""
    file = tmp_path / "base.pt"
    file.write_bytes(content)
    line = generated_line()
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "dataset")
    with pytest.raises(TrainingError, match=r"the base weights base\.pt are not weights of detector fcos") as refused:
        FcosTrainer(1, file).train(dataset, SMALL, tmp_path / "w", lambda *_: None)
    assert "\n" not in str(refused.value)


def test_weights_of_an_earlier_version_are_refused_with_what_to_do(tmp_path):
    """Such weights stay pinned in S3, where a new version finds them; the error says what to do."""
    file = tmp_path / "base.pt"
    torch.save({"format": "kizu-fcos-1", "network": network_of(SMALL, 1).state_dict()}, file)
    line = generated_line()
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "dataset")
    with pytest.raises(TrainingError, match=r"is 'kizu-fcos-1', of another version.* remove its pin") as refused:
        FcosTrainer(1, file).train(dataset, SMALL, tmp_path / "w", lambda *_: None)
    assert "\n" not in str(refused.value)


def test_with_patience_it_ends_early_and_keeps_the_best(tmp_path):
    """With a learning rate that ruins the network, the first epochs are better than later ones."""
    line = generated_line()
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "dataset")
    told = []
    settings = SMALL.model_copy(update={"epochs": 40, "patience": 2, "learning_rate": 0.3})
    trained = FcosTrainer(1).train(dataset, settings, tmp_path / "w", lambda *n: told.append(n))
    losses = [numbers["val/loss"] for _, numbers in told]
    best = losses.index(min(losses))
    assert len(losses) < 40
    assert len(losses) == best + 1 + 2
    assert (trained.record["epochs_run"], trained.record["best_epoch"]) == (len(losses), best + 1)


class Keeper:
    """Keeps all checkpoints."""

    def __init__(self):
        self.kept = []

    def due(self):
        return True

    def keep(self, checkpoint):
        self.kept.append(checkpoint)


def test_the_best_epoch_before_a_checkpoint_is_not_forgotten(tmp_path):
    """A training that was stopped after worse epochs ends with the same bytes."""
    line = generated_line()
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "dataset")
    settings = SMALL.model_copy(update={"epochs": 40, "patience": 3, "learning_rate": 0.3})
    keeper = Keeper()
    whole = FcosTrainer(1).train(dataset, settings, tmp_path / "whole", lambda *_: None, keeper=keeper)
    last = keeper.kept[-1]
    assert last.epoch > whole.record["best_epoch"]
    resumed = FcosTrainer(1).train(dataset, settings, tmp_path / "r", lambda *_: None, resume_from=last)
    assert resumed.onnx_path.read_bytes() == whole.onnx_path.read_bytes()
    assert resumed.record["best_epoch"] == whole.record["best_epoch"]
    for other, changed in (
        (dataset, settings.model_copy(update={"seed": 9})),
        (replace(dataset, digest="o"), settings),
    ):
        with pytest.raises(CheckpointError, match=r"the training cannot continue from it: its (settings|dataset) is"):
            FcosTrainer(1).train(other, changed, tmp_path / "c", lambda *_: None, resume_from=last)


def test_a_network_that_answers_no_number_is_not_exported(tmp_path):
    """An answer that is not a number is within no tolerance."""
    network = network_of(SMALL, 1).eval()
    with torch.no_grad():
        network.head.classification_head.cls_logits.bias.fill_(float("nan"))
    deployed = Deployed(network, 96, 64).eval()
    with pytest.raises(ExportError, match="differs by inf"):
        write_onnx(deployed, Answered(network).eval(), 96, 64, ("a",), tmp_path / "model.onnx", 1)


def test_what_torch_was_told_before_holds_afterwards(tmp_path):
    """The number of threads and the setting for deterministic algorithms are as before the training."""
    line = generated_line()
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "dataset")
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        FcosTrainer(1).train(dataset, SMALL, tmp_path / "w", lambda *_: None)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.get_num_threads() == threads


def test_several_gpus_are_refused(monkeypatch, tmp_path):
    """Several GPUs are refused before any image is read."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    dataset = DetectionDataset(tmp_path, tmp_path, ("a",), {"train": 1, "val": 1}, "d")
    with pytest.raises(TrainingError, match="expected one GPU or processors for detector fcos, but got 0,1"):
        FcosTrainer(device="0,1").train(dataset, SMALL, tmp_path / "w", lambda *_: None)


def test_a_use_case_names_its_detector():
    """A use case names a detector, and a size that the detector has."""
    case = {
        "name": "tag", "classes": ["scratch"], "labeling": {"instructions": "-"},
        "gates": {"min_map50": 0.5, "max_escape_rate": 0.1, "max_overkill_rate": 0.3},
        "training": {"detector": "fcos", "model": "s"},
    }  # fmt: skip
    assert isinstance(trainer_of(parse_use_case(json.dumps(case)).training), FcosTrainer)
    case["training"]["model"] = "x"
    with pytest.raises(UseCaseError, match="expected model n or s with detector fcos, but got 'x'"):
        parse_use_case(json.dumps(case))
    case["training"]["model"] = "n"
    with pytest.raises(UseCaseError, match=r"at most one GPU with detector fcos, but got resources\.gpus 2"):
        parse_use_case(json.dumps(case | {"resources": {"gpus": 2}}))


def test_an_image_without_a_detector_says_which_has_it(monkeypatch):
    """The container image for permissive detectors has no Ultralytics; the error names the image that has it."""
    real = importlib.util.find_spec
    absent = {"components.yolov8", "ultralytics"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else real(name))
    with pytest.raises(TrainingError, match=r"yolov8 cannot be trained here, where components\.yolov8, ultralytics is"):
        trainer_of(TrainingSettings())
    assert isinstance(trainer_of(SMALL), FcosTrainer)
