"""The port `Trainer`: what a training takes and returns, whatever library does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.use_case import TrainingSettings
from inspection.drift import PictureCounts
from inspection.picture import PictureLimits

OnEpoch = Callable[[int, Mapping[str, float]], None]
"""Called after each epoch with its number, counted from 1, and its losses and scores by name."""


class TrainingError(RuntimeError):
    """A training cannot be done, or its result is not sound. The base of this room's errors."""


@dataclass(frozen=True, slots=True)
class DetectionDataset:
    """Images and labels in a folder, in YOLO's layout.

    `classes` are the real names, in the order of the labels' numbers. `data_file` names them `c0`, `c1`, … because
    Ultralytics downloads another font where a name is not ASCII. `images`: number of images of each split; where
    pictures are cut, of tiles. `digest`: of the manifest. `picture_limits`: of the training split; None where they were
    not asked for, or it has few images. `picture_counts`: of the same images; None where they were not asked for.
    """

    folder: Path
    data_file: Path
    classes: tuple[str, ...]
    images: Mapping[str, int]
    digest: str
    picture_limits: PictureLimits | None = None
    picture_counts: PictureCounts | None = None


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The exported model and the record of its training (JSON values only).

    weights_path: weights from which another training of the same trainer can begin, in the trainer's own form.
    """

    onnx_path: Path
    record: Mapping[str, Any]
    weights_path: Path | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training after `epoch` whole epochs, from which it can continue as if it had not stopped.

    told: the numbers that `on_epoch` was given, one entry for each epoch. state: in the trainer's own form. versions:
    of the libraries that wrote `state`; other versions do not read it.
    """

    epoch: int
    told: tuple[Mapping[str, float], ...]
    state: bytes
    versions: Mapping[str, str]


class CheckpointError(TrainingError):
    """This trainer cannot continue from a checkpoint. Raised before anything is trained."""


class CheckpointKeeper(Protocol):
    """Stores a trainer's checkpoints. It never fails a training, but may end one that was asked to end."""

    def due(self) -> bool:
        """Whether it is time for another checkpoint."""
        ...

    def keep(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint; log why where that fails."""
        ...


class NoCheckpoints:
    """A keeper that stores no checkpoint."""

    def due(self) -> bool:
        """False, always."""
        return False

    def keep(self, checkpoint: Checkpoint) -> None:
        """Do nothing."""


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
        """Train and export. All files are written below `workdir` and the dataset's folder.

        The model is an ONNX file with a static input (1, 3, image_height, image_width), one output as
        `inspection.decode_yolov8` reads it, and the names of the classes in its metadata. A trainer uses no network,
        and on processors the same seed gives the same bytes. tests/components/training/test_trainer_contract.py tests
        this.

        After each epoch but the last, the trainer gives a checkpoint to `keeper` if one is due. With `resume_from`, it
        first calls `on_epoch` again with the numbers of the epochs before the checkpoint, then trains the next epoch.

        Raises:
            TrainingError: there is nothing to learn from, or the export does not answer as the network does.
            CheckpointError: `resume_from` is of another trainer, dataset or settings.
        """
        ...
