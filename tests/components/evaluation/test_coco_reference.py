"""mAP against the reference implementation of COCO, on detections as a detector makes them."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.evaluation.matching import Scored, numbered_parts, precision_at_recall, ranked
from components.evaluation.metrics import average_precision, score
from inspection.geometry import Box, Detection, LabelledBox
from inspection.verdict import ClassThreshold

CLASSES = ("scratch", "dent", "stain")
THRESHOLDS = {name: ClassThreshold(0.5, 0.25) for name in CLASSES}


def random_split(seed, images=60):
    """Labels of three classes; detections near most of them, twice near some, and many anywhere."""
    rng = np.random.default_rng(seed)

    def box():
        width, height = rng.uniform(4, 90, 2)
        return Box(float(rng.uniform(0, 300 - width)), float(rng.uniform(0, 200 - height)), float(width), float(height))

    def near(b):
        dx, dy, dw, dh = rng.normal(0, 0.07, 4)
        return Box(b.x + dx * b.width, b.y + dy * b.height, b.width * max(0.3, 1 + dw), b.height * max(0.3, 1 + dh))

    found = []
    for number in range(images):
        labels = [LabelledBox(str(rng.choice(CLASSES[:2])), box()) for _ in range(rng.integers(0, 5))]
        said = [
            Detection(label.class_name, float(rng.beta(4, 2)), near(label.box))
            for label in labels
            for _ in range(rng.integers(0, 3))
        ]
        said += [Detection(str(rng.choice(CLASSES)), float(rng.beta(1, 6)), box()) for _ in range(rng.integers(0, 12))]
        said.sort(key=lambda d: -d.score)
        found.append(Scored(f"part{number // 2}", 300, 200, tuple(labels), tuple(said)))
    return found


def reference(images):
    """(mAP50, mAP50-95) by pycocotools over the classes that have a label."""
    ids = {name: number for number, name in enumerate(CLASSES, start=1)}
    labels = [
        {"image_id": n, "category_id": ids[label.class_name], "iscrowd": 0, "area": label.box.area,
         "bbox": [label.box.x, label.box.y, label.box.width, label.box.height]}
        for n, image in enumerate(images) for label in image.labels
    ]  # fmt: skip
    said = [
        {"image_id": n, "category_id": ids[d.class_name], "score": d.score,
         "bbox": [d.box.x, d.box.y, d.box.width, d.box.height]}
        for n, image in enumerate(images) for d in image.detections
    ]  # fmt: skip
    truth = COCO()
    truth.dataset = {
        "images": [{"id": n, "width": i.width, "height": i.height} for n, i in enumerate(images)],
        "annotations": [{"id": n, **label} for n, label in enumerate(labels, start=1)],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(said), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1]), float(evaluation.stats[0])


@pytest.mark.parametrize("seed", range(5))
def test_map_agrees_with_the_reference_implementation(seed):
    """mAP50 and mAP50-95 agree within 0.002; one of the three classes has detections but no label."""
    images = random_split(seed)
    scores = score(images, CLASSES, THRESHOLDS)
    expected = reference(images)
    assert (scores.map50, scores.map50_95) == pytest.approx(expected, abs=0.002)
    assert 0.2 < scores.map50_95 < scores.map50 < 0.95, "neither everything nor nothing was found"


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_that_is_drawn_and_resampled_is_the_one_that_is_scored(seed):
    """The mean of our own curve is the average precision of the library, for each class."""
    images = random_split(seed)
    parts = numbered_parts(images)
    for name, expected in average_precision(images, CLASSES).items():
        curve = precision_at_recall(ranked(images, name, parts))
        if expected is None:
            assert curve is None
        else:
            assert curve.mean() == pytest.approx(expected[0], abs=1e-6)
