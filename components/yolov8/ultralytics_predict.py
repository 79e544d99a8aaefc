# SPDX-License-Identifier: AGPL-3.0-only
"""Prediction with Ultralytics itself, with which the benchmarks compare the device. No pipeline runs this."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from components.training.onnx_file import OPSET, Exported
from components.yolov8.export import export_onnx
from components.yolov8.trainer import quiet_ultralytics
from inspection.model_rules import TELEMETRY_SWITCH


def export_checkpoint(
    checkpoint: Path, width: int, height: int, classes: tuple[str, ...], path: Path, threads: int
) -> Exported:
    """Export an Ultralytics checkpoint as Kizu does (`export_onnx`)."""
    network = quiet_ultralytics().YOLO(str(checkpoint), task="detect").model.float().eval()
    return export_onnx(network, width, height, classes, path, threads)


def export_as_ultralytics_does(checkpoint: Path, path: Path, size: tuple[int, int] | None) -> None:
    """Export a checkpoint as Ultralytics does: dynamic where `size` is None, else static at `size` (height, width)."""
    ultralytics = quiet_ultralytics()
    copy = path.with_suffix(".pt")  # it writes beside the checkpoint, under its name
    shutil.copyfile(checkpoint, copy)
    shape: dict[str, Any] = {"dynamic": True} if size is None else {"imgsz": list(size)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = ultralytics.YOLO(str(copy), task="detect").export(
            format="onnx", opset=OPSET, simplify=False, verbose=False, **shape
        )
    copy.unlink()
    if Path(written) != path:
        Path(written).replace(path)


class UltralyticsPredictor:
    """`YOLO(model).predict(image)` on a CPU with a number of threads.

    Args:
        size: (height, width) for `imgsz`; None passes no `imgsz`, as the published sample does.
    """

    def __init__(self, model: Path, threads: int, size: tuple[int, int] | None) -> None:
        self._yolo = quiet_ultralytics().YOLO(str(model), task="detect")
        self._options: dict[str, Any] = {"verbose": False} | ({} if size is None else {"imgsz": list(size)})
        self._threads = threads
        limit_onnxruntime(threads)

    def is_defective(self, jpeg: bytes, min_score: float) -> bool:
        """Whether anything scores at least `min_score`."""
        import torch

        image = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_COLOR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = self._yolo.predict(image, **self._options)[0]
        # Ultralytics sets torch's threads to fewer than there are cores; that setting is kept.
        torch.set_num_threads(min(self._threads, torch.get_num_threads()))
        return bool((result.boxes.conf >= min_score).any())


def limit_onnxruntime(threads: int) -> None:
    """Limit onnxruntime's threads, for which Ultralytics has no option: its sessions use all cores."""
    os.environ.update([TELEMETRY_SWITCH])  # before the import, which reads it
    import onnxruntime

    original = onnxruntime.InferenceSession

    def limited(path: Any, sess_options: Any = None, **options: Any) -> Any:
        sess_options = sess_options or onnxruntime.SessionOptions()
        sess_options.intra_op_num_threads = threads
        return original(path, sess_options, **options)

    onnxruntime.InferenceSession = limited
