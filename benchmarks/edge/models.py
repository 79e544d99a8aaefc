"""One set of weights, trained once by the product's own library and exported for each contender."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.edge.material import Material
from components.stores.datasets.manifest import SplitName
from inspection import decode_image, sha256_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Models:
    """ONNX files of the same weights. dynamic and static are Ultralytics' own exports; fp32 and int8 the product's."""

    fp32: Path
    int8: Path
    dynamic: Path
    static: Path
    said: str


def prepare(material: Material, folder: Path, weights: Path | None) -> Models:
    """Train once, or take `weights` (an Ultralytics checkpoint), and export below `folder`.

    Exports are made anew each time, which takes seconds, because the benchmark also measures how they are made.
    """
    from components.training.quantize import quantize_int8
    from components.yolov8.ultralytics_predict import export_as_ultralytics_does, export_checkpoint

    settings = material.use_case.training
    if weights is None:
        folder = (
            folder / f"trained-{sha256_of(f'{material.manifest.digest}{settings.model_dump_json()}'.encode())[:12]}"
        )
        checkpoint = _trained(material, folder)
    else:
        folder = folder / f"given-{sha256_of(weights.read_bytes())[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = weights
    size = (settings.image_height, settings.image_width)
    models = Models(
        folder / "fp32.onnx", folder / "int8.onnx", folder / "dynamic.onnx", folder / "static.onnx",
        f"YOLOv8{settings.model}, {size[0]}×{size[1]} (h×w), "
        + (f"trained {settings.epochs} epochs on them" if weights is None else "weights given"),
    )  # fmt: skip
    threads = len(os.sched_getaffinity(0))
    export_checkpoint(checkpoint, size[1], size[0], material.use_case.classes, models.fp32, threads)
    export_as_ultralytics_does(checkpoint, models.dynamic, None)
    export_as_ultralytics_does(checkpoint, models.static, size)
    quantize_int8(models.fp32, _training_images(material), material.preprocess, models.int8)
    return models


def _trained(material: Material, folder: Path) -> Path:
    from components.training.dataset_folder import write_dataset
    from components.yolov8.trainer import UltralyticsTrainer

    checkpoint = folder / "best.pt"
    if checkpoint.exists():
        return checkpoint
    settings = material.use_case.training
    _log.info("training %d epochs; the weights are kept in %s", settings.epochs, folder)
    dataset = write_dataset(material.manifest, material.fetch, folder / "dataset")
    trained = UltralyticsTrainer().train(
        dataset, settings, folder / "training", lambda epoch, _: _log.info("epoch %d of %d", epoch, settings.epochs)
    )
    (folder / "training.json").write_text(json.dumps(dict(trained.record), indent=2), encoding="utf-8")
    # Last and atomically, so that a training that was killed is repeated.
    assert trained.weights_path is not None
    trained.weights_path.replace(checkpoint)
    return checkpoint


def _training_images(material: Material) -> Iterator[NDArray[np.uint8]]:
    for _, data in material.of(SplitName.TRAIN):
        yield decode_image(data)
