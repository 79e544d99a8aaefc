"""One training and its score.

The result is kept by the digest of all that it depends on, so that an interrupted run can continue.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.accuracy import plain
from benchmarks.edge.material import Material
from components.evaluation.detect import detect_all, load
from components.evaluation.metrics import average_precision
from components.stores.datasets.manifest import Manifest, SplitName
from components.training.trainer import DetectionDataset
from components.use_case import TrainingSettings
from inspection.codec import canonical_json
from inspection.decode import Nms
from inspection.image import sha256_of

_log = logging.getLogger(__name__)
_PACKAGES: Final = ("torch", "torchvision", "ultralytics-opencv-headless", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Trial:
    """The scores of one training on the test parts of one split. seconds: the time of the training alone."""

    split_seed: int
    map50: float
    map50_95: float
    images: Mapping[str, int]
    parts: Mapping[str, int]
    seconds: float


def log_to_stderr() -> None:
    """Set up logging as the program does. A training's process needs this again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)


def base_weights(settings: TrainingSettings, work: Path) -> Path | None:
    """The checkpoint that these settings start from, or None. It is made once, below `work`."""
    from components.training.base_weights import make_from_generated_parts

    if settings.pretraining_digest is None:
        return None
    # As in a trial's inputs: FCOS depends on its settings and on our own code.
    made_by = _arguments(settings, 0)["code"].removeprefix("source:") if settings.detector == "fcos" else ""
    file = work / f"base-{settings.pretraining_digest}{made_by}.pt"
    if not file.exists():
        folder = _empty(work / f"making-{settings.pretraining_digest}")
        checkpoint, record = make_from_generated_parts(settings, folder)
        file.with_suffix(".json").write_text(json.dumps(dict(record), indent=2), encoding="utf-8")
        checkpoint.replace(file)  # last and atomically, so that a file that exists is whole
        shutil.rmtree(folder)
    return file


def trial(material: Material, manifest: Manifest, settings: TrainingSettings | None, work: Path) -> Trial:
    """Train and score, or return what an earlier run found. settings: None trains plain Ultralytics."""
    from components.training.dataset_folder import write_dataset

    base = base_weights(settings, work) if settings else None
    inputs = {
        "manifest": manifest.digest,
        "settings": settings.model_dump(mode="json", exclude={"pretraining", "base_weights"}) if settings else None,
        "arguments": _arguments(settings, len(manifest.of(SplitName.TRAIN))) if settings else plain.ARGUMENTS,
        "base": sha256_of(base.read_bytes()) if base else None,
        "packages": {name: version(name) for name in _PACKAGES},
    }
    digest = hashlib.sha256(canonical_json(inputs)).hexdigest()
    kept = work / f"trial-{digest}.json"
    if kept.exists():
        return Trial(**json.loads(kept.read_bytes())["trial"])
    folder = _empty(work / f"training-{digest}")
    dataset = write_dataset(manifest, material.fetch, folder / "dataset")
    began = time.monotonic()
    onnx = _trained(dataset, settings, base, folder / "training")
    seconds = time.monotonic() - began
    found = Trial(
        manifest.split_seed,
        *_score(material, manifest, onnx.read_bytes()),
        images={name.value: len(manifest.of(name)) for name in SplitName},
        parts={name.value: len({image.group for image in manifest.of(name)}) for name in SplitName},
        seconds=seconds,
    )
    _write(kept, {"inputs": inputs, "trial": asdict(found)})
    shutil.rmtree(folder)
    return found


def _trained(dataset: DetectionDataset, settings: TrainingSettings | None, base: Path | None, folder: Path) -> Path:
    from components.training.detectors import trainer_of

    if settings is None:
        return plain.train(dataset, folder)
    return (
        trainer_of(settings, base_weights=base)
        .train(dataset, settings, folder, lambda epoch, _: _log.info("epoch %d of %d", epoch, settings.epochs))
        .onnx_path
    )


def _arguments(settings: TrainingSettings, training_images: int) -> Mapping[str, Any]:
    """What a training depends on besides the settings: the arguments of YOLOv8's library, or our own code for FCOS."""
    if settings.detector != "yolov8":
        from components.training.code_digest import code_digest

        return {"code": code_digest(settings.detector)}
    from components.yolov8.trainer import arguments_of

    return arguments_of(settings, training_images)


def _score(material: Material, manifest: Manifest, onnx: bytes) -> tuple[float, float]:
    """(mAP50, mAP50-95) on the test parts, through the code that the device runs."""
    classes = material.use_case.classes
    detectors = {"model": load(onnx, classes, Nms())}
    scored = detect_all(detectors, manifest.of(SplitName.TEST), material.fetch, {})["model"]
    values = [value for value in average_precision(scored, classes).values() if value is not None]
    return float(np.mean([value[0] for value in values])), float(np.mean([value[1] for value in values]))


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _write(file: Path, document: Mapping[str, Any]) -> None:
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
