# SPDX-License-Identifier: AGPL-3.0-only
"""Prediction on slices with SAHI and Ultralytics, with which the benchmarks compare tiles. No pipeline runs this."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from components.yolov8.trainer import quiet_ultralytics
from components.yolov8.ultralytics_predict import limit_onnxruntime


class SlicedPredictor:
    """SAHI's `get_sliced_prediction` on a CPU, with its own settings but for the slices.

    Args:
        size: (height, width) of the network's input. slices: (height, width) of a slice, in pixels of the picture.
        overlap: share of a slice that its neighbours share, down and across.

    Raises:
        ImportError: the package `sahi` is not installed.
    """

    def __init__(
        self, model: Path, threads: int, size: tuple[int, int], slices: tuple[int, int], overlap: tuple[float, float],
        min_score: float,
    ) -> None:  # fmt: skip
        quiet_ultralytics()
        limit_onnxruntime(threads)
        self._sahi: Any = importlib.import_module("sahi.predict")
        self._slices, self._overlap = slices, overlap
        self._model = importlib.import_module("sahi").AutoDetectionModel.from_pretrained(
            model_type="ultralytics", model_path=str(model), confidence_threshold=min_score, device="cpu",
            image_size=list(size),
        )  # fmt: skip

    def is_defective(self, jpeg: bytes) -> bool:
        """Whether anything is found on any slice."""
        image = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._sahi.get_sliced_prediction(
                cv2.cvtColor(image, cv2.COLOR_BGR2RGB), self._model,
                slice_height=self._slices[0], slice_width=self._slices[1],
                overlap_height_ratio=self._overlap[0], overlap_width_ratio=self._overlap[1],
                perform_standard_pred=False, verbose=0,
            )  # fmt: skip
        return bool(found.object_prediction_list)
