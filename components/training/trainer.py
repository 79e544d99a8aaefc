# SPDX-License-Identifier: AGPL-3.0-only
"""What a training is, whatever library does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.use_case import TrainingSettings

OnEpoch = Callable[[int, Mapping[str, float]], None]
"""Called after each epoch with its number, from 1, and its losses and scores by name."""


class TrainingError(RuntimeError):
    """A training that cannot be done, or whose result is not what it should be. Base of this room's errors."""


@dataclass(frozen=True, slots=True)
class DetectionDataset:
    """Images and labels in a folder, in YOLO's layout.

    `classes` are the real names, in the order of the labels' numbers; `data_file` names them `c0`, `c1`, … because
    Ultralytics looks for another font, by download, where a name is not ASCII. `images` counts per split.
    """

    folder: Path
    data_file: Path
    classes: tuple[str, ...]
    images: Mapping[str, int]
    digest: str


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The exported model and the record of how it came about (JSON values only)."""

    onnx_path: Path
    record: Mapping[str, Any]


class Trainer(Protocol):
    """Trains a detector."""

    def train(
        self, dataset: DetectionDataset, settings: TrainingSettings, workdir: Path, on_epoch: OnEpoch
    ) -> TrainedModel:
        """Train and export. Everything is written below `workdir`.

        Raises:
            TrainingError: nothing to learn from, or the export does not answer as the network does.
        """
        ...
