"""Plates with and without a stain, a small YOLOv8 that was trained on them, and a release of it.

The network is narrow and its input small, so that an emulated processor gets through it. It is YOLOv8 otherwise, with
all kinds of layers, and its scores spread over the whole range: that gives all three verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from components.evaluation.detect import detect_all, load
from components.evaluation.golden import Answers, choose
from components.evaluation.pictures import Pictures
from components.stores.datasets.manifest import ManifestImage, SplitName
from components.training.dataset_folder import write_dataset
from inspection import Box, ClassThreshold, InputSpec, LabelledBox, Nms, sha256_of
from inspection.documents import Probation
from tests.components.training.generated_dataset import Line, entry, manifest_of
from tests.components.training.trainer_process import Step, run
from tests.edge_agent.models import BuiltRelease, build_release

CLASS = "stain"
TRAINER = "components.yolov8.trainer:UltralyticsTrainer"
SETTINGS = {
    "width_multiple": 0.0625, "image_width": 96, "image_height": 64, "epochs": 24, "batch": 8, "learning_rate": 0.01
}  # fmt: skip
_PLATE = (120, 200)
_SPLITS = ((SplitName.TRAIN, 64), (SplitName.VAL, 8), (SplitName.TEST, 24))
PROBATION_FRAMES = 8


@dataclass(frozen=True)
class Trained:
    """A network and the test images of its dataset."""

    onnx: bytes
    line: Line

    @property
    def test_images(self) -> list[ManifestImage]:
        return [image for image in self.line.manifest.images if image.split == SplitName.TEST]


def plate(rng: np.random.Generator, *, stained: bool, extension: str) -> tuple[bytes, list[LabelledBox]]:
    """A plate of 200 x 120 pixels under uneven light, as PNG or JPEG, and the box of its stain."""
    height, width = _PLATE
    light = np.linspace(-20, 20, width) * rng.uniform(-1, 1)
    image = cv2.GaussianBlur(rng.normal(128, 12, _PLATE).astype(np.float32), (0, 0), 1.2) + light
    boxes = []
    if stained:
        w, h = (int(side) for side in rng.integers(24, 56, 2))
        x, y = int(rng.integers(4, width - 4 - w)), int(rng.integers(4, height - 4 - h))
        mask = np.zeros(_PLATE)
        cv2.ellipse(mask, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, 1.0, -1)
        image += mask * rng.choice([-1, 1]) * rng.uniform(25, 90)
        boxes = [LabelledBox(CLASS, Box(x, y, w, h))]
    grey = np.clip(image, 0, 255).astype(np.uint8)
    return cv2.imencode(extension, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))[1].tobytes(), boxes


def plates() -> Line:
    """Every second plate has a stain; PNG and JPEG in pairs."""
    rng = np.random.default_rng(5)
    entries, images = [], {}
    splits = [split for split, count in _SPLITS for _ in range(count)]
    for number, split in enumerate(splits):
        data, boxes = plate(rng, stained=number % 2 == 0, extension=".png" if number % 4 < 2 else ".jpg")
        entries.append(entry(data, split, boxes, f"plate-{number}"))
        images[sha256_of(data)] = data
    return Line(manifest_of(entries, (CLASS,)), images)


def train(folder: Path) -> Trained:
    """Train with the product's own trainer, in a process of its own: about 25 s on one core."""
    line = plates()
    dataset = write_dataset(line.manifest, line.fetch, folder / "dataset")
    answer = run(TRAINER, folder, Step(dataset, SETTINGS))["steps"][0]
    assert answer["error"] == ""
    return Trained(Path(answer["onnx"]).read_bytes(), line)


def release_of(trained: Trained, *, latency_budget_ms: float, probation_s: float) -> BuiltRelease:
    """A release of the network, with golden samples that evaluation chose from its answers on this machine.

    The thresholds lie in the middle of gaps between the scores, so that no verdict hangs on the last bit of a score.
    """
    detector = load(trained.onnx, (CLASS,), Nms())
    images = trained.test_images
    scored = detect_all({"fp32": detector}, images, trained.line.fetch, {})["fp32"]
    scores = [max((found.score for found in image.detections), default=0.0) for image in scored]
    thresholds = {CLASS: ClassThreshold(fail=_gap(scores, 0.25, 0.7), uncertain=_gap(scores, 0.02, 0.2))}
    answers = Answers(detector, None, thresholds, Pictures(images, trained.line.fetch))
    golden = [answers.sample(index) for index in choose(scored, faint_from=thresholds[CLASS].fail)]
    built = build_release(
        model=trained.onnx,
        classes=(CLASS,),
        thresholds=thresholds,
        preprocess=InputSpec(width=int(SETTINGS["image_width"]), height=int(SETTINGS["image_height"])),
        golden=tuple(golden),
        latency_budget_ms=latency_budget_ms,
        probation_s=probation_s,
        probation=Probation(min_frames=PROBATION_FRAMES),
    )
    files = {name: data for name, data in built.files.items() if name != "golden.png"}
    return replace(built, files=files | {sample.file: trained.line.images[sample.sha256] for sample in golden})


def _gap(scores: Sequence[float], low: float, high: float) -> float:
    """The middle of the widest gap between scores in low..high."""
    inside = [low, *sorted(score for score in scores if low < score < high), high]
    below, above = max(pairwise(inside), key=lambda pair: pair[1] - pair[0])
    return (below + above) / 2
