"""Plain Ultralytics: `yolo detect train` with only data, network, size, epochs and seed given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from components.training.trainer import DetectionDataset
from deploy.access.layout import REPOSITORY

WIDTH: Final = 320
HEIGHT: Final = 224
"""Height of the export's input, in pixels. Ultralytics trains on squares of the longer side."""
ARGUMENTS: Final[dict[str, Any]] = {"model": "yolov8n.yaml", "imgsz": WIDTH, "epochs": 36, "seed": 0}


def train(dataset: DetectionDataset, folder: Path) -> Path:
    """Train in a process of its own, export the checkpoint as Kizu exports its own, and return the ONNX file.

    Raises:
        RuntimeError: Ultralytics ended with an error. The message has the end of its log.
    """
    from components.yolov8.ultralytics_predict import export_checkpoint

    folder.mkdir(parents=True)
    file, log = folder / "arguments.yaml", folder / "plain.log"
    places = {"data": str(dataset.data_file), "project": str(folder), "name": "plain", "exist_ok": True}
    # What is learned depends neither on the folders nor on whether plots are drawn.
    file.write_text(json.dumps({**ARGUMENTS, **places, "device": "cpu", "plots": False}), encoding="utf-8")
    with log.open("wb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "components.yolov8.ultralytics_train", str(file)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, cwd=REPOSITORY,
            stdout=stream, stderr=stream, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"yolo detect train ended with {done.returncode}: {log.read_text()[-2000:]}")
    onnx = folder / "model.onnx"
    threads = len(os.sched_getaffinity(0))
    export_checkpoint(folder / "plain" / "weights" / "best.pt", WIDTH, HEIGHT, dataset.classes, onnx, threads)
    return onnx
