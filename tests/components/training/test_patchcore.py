"""The trainer that learns from good parts: its rules by numbers, and one real training of seconds."""

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import torch

from components.stores.datasets.manifest import Manifest, SplitName
from components.training import efficientnet_lite
from components.training.dataset_folder import write_dataset
from components.training.memory_bank import (
    Patches,
    coreset,
    projection_of,
    score_of,
    squared_distances,
    unit_for,
)
from components.training.patchcore import HELD_OUT_SCORE, PatchCoreTrainer
from components.training.ready import ENOUGH_PARTS, ready_for_detector
from components.training.trainer import TrainingError
from components.use_case import TrainingSettings
from inspection.anomaly import ANOMALY
from inspection.decode import Nms
from inspection.geometry import Box, LabelledBox
from inspection.inspector import Inspector
from inspection.outputs import ANOMALY_MAP
from inspection.preprocess import Preprocess
from inspection.verdict import ClassThreshold
from tests.components.training.generated_dataset import Line, entry

WIDTH, HEIGHT = 128, 96


def plate(seed: int, *, blot: bool = False) -> np.ndarray:
    """A grey plate with stripes that are never quite the same; with a blot, something that no plate has."""
    rng = np.random.default_rng(seed)
    image = np.full((HEIGHT, WIDTH, 3), 110.0) + rng.normal(0, 4, (HEIGHT, WIDTH, 1))
    for x in range(8, WIDTH, 24):
        image[:, x + int(rng.integers(-2, 3)) : x + 6] += 50
    if blot:
        cv2.circle(image, (80, 40), 9, (20, 20, 20), -1)
    return np.clip(image, 0, 255).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of eight good plates, with two defective ones among the training images, which it must not learn."""
    folder = tmp_path_factory.mktemp("patchcore")
    box = (LabelledBox("scratch", Box(70, 30, 20, 20)),)
    images = {f"g{n}": (png(plate(n)), SplitName.TRAIN, ()) for n in range(8)}
    images |= {f"b{n}": (png(plate(50 + n, blot=True)), SplitName.TRAIN, box) for n in range(2)}
    images |= {f"v{n}": (png(plate(100 + n)), SplitName.VAL, ()) for n in range(2)}
    entries = [entry(data, split, boxes, group) for group, (data, split, boxes) in images.items()]
    manifest = Manifest(
        use_case="t", classes=("scratch",), split_seed=0, images=tuple(sorted(entries, key=lambda e: e.sha256))
    )
    line = Line(manifest, {e.sha256: data for e, (data, _, _) in zip(entries, images.values(), strict=True)})
    dataset = write_dataset(manifest, line.fetch, folder / "dataset", needs_defects=False)
    settings = TrainingSettings(detector="patchcore", image_width=WIDTH, image_height=HEIGHT)
    told = []
    model = PatchCoreTrainer(1).train(dataset, settings, folder / "work", lambda *numbers: told.append(numbers))
    return model, told


def inspector_of(model) -> Inspector:
    session = ort.InferenceSession(str(model.onnx_path), providers=["CPUExecutionProvider"])
    return Inspector(
        lambda tensor: session.run(None, {"images": tensor})[0], Preprocess(WIDTH, HEIGHT), (ANOMALY,),
        {ANOMALY: ClassThreshold(fail=HELD_OUT_SCORE, uncertain=0.01)}, Nms(), output=ANOMALY_MAP,
    )  # fmt: skip


def test_what_no_good_part_has_is_found_where_it_is(trained):
    """Other good plates score below every defective one, and the highest anomaly lies on the blot."""
    inspector = inspector_of(trained[0])
    good = [inspector.inspect(plate(200 + n)).detections for n in range(6)]
    bad = [inspector.inspect(plate(300 + n, blot=True)).detections for n in range(3)]
    assert max(found[0].score for found in good) < min(found[0].score for found in bad)
    assert min(found[0].score for found in bad) > HELD_OUT_SCORE
    for found in bad:
        x1, y1, x2, y2 = found[0].box.xyxy
        assert x1 <= 80 <= x2
        assert y1 <= 40 <= y2


def test_it_learns_from_images_without_a_box_alone_and_says_how_many(trained):
    """The two defective images of the training split are left out."""
    model, told = trained
    assert model.record["good_images"] == 8
    [(epoch, numbers)] = told
    assert (epoch, numbers["bank/images"]) == (1, 8.0)


def test_an_image_of_one_grey_is_unlike_a_plate_and_never_zero(trained):
    """The map of a picture that shows nothing is no answer of a runtime that computed nothing."""
    session = ort.InferenceSession(str(trained[0].onnx_path), providers=["CPUExecutionProvider"])
    for grey in (0.0, 1.0):
        [found] = session.run(None, {"images": np.full((1, 3, HEIGHT, WIDTH), grey, np.float32)})
        assert 0.0 < found.min() <= found.max() <= 1.0


def test_the_pretrained_network_knows_its_images():
    """The weights fit the network that is written here: features of ImageNet are neither dead nor overflowing.

    The last normalisation of a block has learned means and variances. Features with the padding on the wrong side, or
    with other channels, would not have them.
    """
    network = efficientnet_lite.Features((0, 1, 2, 3, 4, 5))
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.random((224, 224, 3)).astype(np.float32), (0, 0), 3)
    image = (image - image.min()) / (image.max() - image.min())
    with torch.no_grad():
        found = network(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
    assert [tuple(one.shape[1:]) for one in found] == [
        (16, 112, 112), (24, 56, 56), (40, 28, 28), (80, 14, 14), (112, 14, 14), (192, 7, 7),
    ]  # fmt: skip
    for one in found:
        assert 0.1 < float(one.std()) < 30.0


def test_weights_of_other_bytes_are_refused_before_they_are_read(monkeypatch):
    """A pickle that somebody changed is not opened."""
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(TrainingError, match=r"expected efficientnet-lite0-57934424\.pth with sha256 0000"):
        efficientnet_lite.pretrained()


def test_without_the_package_the_error_names_it(monkeypatch):
    """And where it comes from."""
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(TrainingError, match=r"no_such_package_of_weights .* is not installed here"):
        efficientnet_lite.pretrained()


def test_a_projection_makes_all_directions_weigh_about_the_same():
    """Directions in which good parts differ a hundredfold have nearly the same spread afterwards."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(4000, 4, generator=generator) * torch.tensor([100.0, 10.0, 1.0, 1.0]) + 7
    own = projection_of(patches, 2).of(patches)
    assert own.shape == (4000, 2)
    assert float(own.mean().abs()) < 0.01
    spread = own.std(dim=0)
    assert float(spread.max() / spread.min()) < 2.0


def test_the_bank_keeps_the_patches_that_differ_most():
    """Of a crowd and three that stand apart, the three are kept; the same patches give the same bank."""
    crowd = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) * 0.01
    apart = torch.tensor([[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0]])
    bank = coreset(torch.cat([crowd, apart]), 6)
    assert len(bank) == 6
    assert float(squared_distances(apart, bank).max()) == 0.0
    assert torch.equal(bank, coreset(torch.cat([crowd, apart]), 6))
    assert torch.equal(coreset(apart, 6), apart)


def test_scores_rise_with_the_distance_and_keep_to_their_calibration():
    """One half at the unit, the asked score at the asked distance, within 0..1 however far."""
    assert float(score_of(torch.tensor(4.0), 4.0)) == pytest.approx(0.5)
    assert float(score_of(torch.tensor(3.0), unit_for(3.0, 0.35))) == pytest.approx(0.35, abs=1e-6)
    scores = score_of(torch.tensor([0.0, 1.0, 2.0, 1e30]), 2.0)
    assert bool((scores[1:] > scores[:-1]).all())
    assert float(scores[0]) > 0
    assert float(scores[-1]) == pytest.approx(1.0)


def test_patches_lie_on_the_grid_of_the_anomaly_map():
    """A place for each eight pixels."""
    with torch.no_grad():
        assert Patches()(torch.zeros(2, 3, 64, 96)).shape == (2, Patches().channels, 8, 12)


def parts_of(**counts: int) -> Manifest:
    """counts: class -> number of defective parts, over the splits by turns."""
    images = []
    for name, count in counts.items():
        for number in range(count):
            split = (SplitName.TRAIN, SplitName.VAL, SplitName.TEST)[number % 3]
            box = (LabelledBox(name, Box(1, 1, 9, 9)),)
            images.append(entry(png(np.full((16, 16, 3), len(images), np.uint8)), split, box, f"{name}{number}"))
    return Manifest(use_case="t", classes=tuple(counts), split_seed=0, images=tuple(images))


def test_it_is_said_when_each_class_has_enough_parts_for_a_detector():
    """One class with too few is enough to wait, and all counts are named."""
    said = ready_for_detector(parts_of(scratch=ENOUGH_PARTS, dent=3))
    assert (
        said == "parts with a defect so far: scratch 20, dent 3; a detector needs 20 of each class, some in every split"
    )
    assert ready_for_detector(parts_of(scratch=ENOUGH_PARTS)).startswith(
        "each class has enough parts for a detector (scratch 20)"
    )


def test_settings_that_the_network_does_not_have_are_refused():
    """Its size and its weights are fixed."""
    for wrong in ({"width_multiple": 0.5}, {"model": "s"}, {"pretraining": {}}):
        with pytest.raises(ValueError, match="with detector patchcore, whose network and weights are fixed"):
            TrainingSettings(detector="patchcore", **wrong)
