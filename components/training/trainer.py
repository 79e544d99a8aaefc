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
    """The exported model and the record of how it came about (JSON values only).

    weights_path: what another training of the same trainer may begin from, in the trainer's own form.
    """

    onnx_path: Path
    record: Mapping[str, Any]
    weights_path: Path | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training after `epoch` whole epochs: enough to go on as if it had not stopped.

    told: what `on_epoch` was told, an entry an epoch. state: the trainer's own bytes. versions: of the libraries that
    wrote them; no others read them.
    """

    epoch: int
    told: tuple[Mapping[str, float], ...]
    state: bytes
    versions: Mapping[str, str]


class CheckpointError(TrainingError):
    """A checkpoint that this trainer cannot go on from. It says so before it trains anything."""


class CheckpointKeeper(Protocol):
    """Where a trainer leaves its checkpoints. It never fails a training."""

    def due(self) -> bool:
        """Whether it is time for another one."""
        ...

    def keep(self, checkpoint: Checkpoint) -> None:
        """Store it, or say why not."""
        ...


class NoCheckpoints:
    """Keeps none."""

    def due(self) -> bool:
        """Never."""
        return False

    def keep(self, checkpoint: Checkpoint) -> None:
        """Nothing."""


class Trainer(Protocol):
    """Trains a detector."""

    def train(
        self,
        dataset: DetectionDataset,
        settings: TrainingSettings,
        workdir: Path,
        on_epoch: OnEpoch,
        *,
        keeper: CheckpointKeeper = ...,
        resume_from: Checkpoint | None = None,
    ) -> TrainedModel:
        """Train and export. Everything is written below `workdir` and the dataset's folder.

        The model is an ONNX file with a static input (1, 3, image_height, image_width) and one output as
        `inspection.decode_yolov8` reads it, and the names of the classes in its metadata. No network is reached for;
        the same seed gives the same bytes on processors. tests/components/training/test_trainer_contract.py holds a
        trainer to this.

        After each epoch but the last, a checkpoint goes to `keeper` where it is due. With `resume_from`, `on_epoch`
        hears the numbers of the epochs before it again, and the training goes on with the next one.

        Raises:
            TrainingError: nothing to learn from, or the export does not answer as the network does.
            CheckpointError: `resume_from` is none of this trainer's, this dataset's and these settings'.
        """
        ...
