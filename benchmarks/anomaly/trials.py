"""One trial: learn from good parts with the trainer as it ships, and score other parts through `inspection`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2

from benchmarks.anomaly.material import Material
from components.evaluation.metrics import auroc
from components.stores.models.onnx_session import open_session
from components.training.detectors import trainer_of
from components.training.trainer import DetectionDataset
from components.use_case import TrainingSettings
from inspection import ClassThreshold, Inspector, Nms, decode_image
from inspection.anomaly import ANOMALY
from inspection.outputs import ANOMALY_MAP

_FLOOR: Final = 1e-9
_TIMED: Final = 40


@dataclass(frozen=True, slots=True)
class Trial:
    """The results. aurocs: kind of defect -> 0..1 against the good parts; auroc: of all kinds together.

    false_alarms: share of the good parts at the default threshold. frame_ms: median of the processor time from image to
    verdict, on one thread.
    """

    material: str
    seed: int
    auroc: float
    aurocs: Mapping[str, float]
    false_alarms: float
    caught: float
    fit_s: float
    frame_ms: float


def trial(material: Material, seed: int, threads: int = 2) -> Trial:
    """Learn and score."""
    width, height = material.size
    settings = TrainingSettings(detector="patchcore", image_width=width, image_height=height, seed=seed)
    with tempfile.TemporaryDirectory(prefix="kizu-bench-anomaly-") as folder:
        dataset = _write(material, Path(folder) / "dataset")
        began = time.perf_counter()
        trained = trainer_of(settings).train(dataset, settings, Path(folder) / "work", lambda epoch, numbers: None)
        fit_s = time.perf_counter() - began
        infer, spec = open_session(trained.onnx_path.read_bytes(), 1, threads=1, output=ANOMALY_MAP)
    thresholds = {ANOMALY: ClassThreshold(fail=0.35, uncertain=_FLOOR)}
    inspector = Inspector(infer, spec.to_preprocess(), (ANOMALY,), thresholds, Nms(), output=ANOMALY_MAP)

    def top(data: bytes) -> float:
        return max((found.score for found in inspector.detect(decode_image(data), _FLOOR)), default=0.0)

    good = [top(data) for data in material.good]
    bad = {kind: [top(data) for data in images] for kind, images in material.defective.items()}
    every = [score for scores in bad.values() for score in scores]
    return Trial(
        material.name,
        seed,
        auroc(good, every) or 0.0,
        {kind: auroc(good, scores) or 0.0 for kind, scores in bad.items()},
        sum(score >= 0.35 for score in good) / len(good),
        sum(score >= 0.35 for score in every) / len(every),
        fit_s,
        _frame_ms(inspector, material),
    )


def _frame_ms(inspector: Inspector, material: Material) -> float:
    images = [decode_image(data) for data in material.good[:8]]
    times = []
    for number in range(_TIMED):
        began = time.process_time()  # what other programs on the machine take does not count
        inspector.detect(images[number % len(images)], 0.2)
        times.append((time.process_time() - began) * 1000)
    return statistics.median(times[4:])


def _write(material: Material, folder: Path) -> DetectionDataset:
    """The good parts as a training split; there is no validation split, so that the trainer calibrates on them too."""
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "labels" / "train").mkdir(parents=True)
    for number, data in enumerate(material.learned):
        cv2.imwrite(str(folder / "images" / "train" / f"{number:04d}.png"), decode_image(data))
        (folder / "labels" / "train" / f"{number:04d}.txt").write_text("")
    counts = {"train": len(material.learned), "val": 0}
    return DetectionDataset(folder, folder / "data.yaml", (ANOMALY,), counts, material.name)
