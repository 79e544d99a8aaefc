# SPDX-License-Identifier: AGPL-3.0-only
"""The trainer of YOLOv8, with Ultralytics: on processors or GPUs, without network access and without telemetry."""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from components.training.device import CPU, chosen_device
from components.training.on_this_machine import OnThisMachine, refuse_unusable
from components.training.record import training_record
from components.training.trainer import (
    Checkpoint,
    CheckpointKeeper,
    DetectionDataset,
    NoCheckpoints,
    OnEpoch,
    TrainedModel,
    TrainingError,
)
from components.use_case import TrainingSettings
from components.yolov8.export import export_onnx
from components.yolov8.other_process import far_side

_log = logging.getLogger(__name__)

# Ultralytics reads these when it is imported. By default it looks for a network, installs missing packages, reports its
# use, and loads any pickle.
_SWITCHES: Final = {
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # for onnxruntime, which the check of the export loads
}
_INTEGRATIONS: Final = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
# With more images than this, they are read from disk in each epoch instead of kept in memory.
_CACHED_IMAGES: Final = 2000
_NO_CHECKPOINTS: Final = NoCheckpoints()
_WARMUP_EPOCHS: Final = 2
_FINAL_RATE: Final = 0.05


class UltralyticsTrainer(OnThisMachine):
    """Trains YOLOv8 n to x, or a network narrower than n by `width_multiple`.

    Args:
        threads: CPU threads; all cores where None. Ultralytics on its own leaves one core idle.
        base_weights: an Ultralytics checkpoint to begin from; tensors of the same name and shape are loaded. torch's
            restricted loader reads the file and refuses code in it.
        device: `cpu`, `auto`, or GPUs by number; see `chosen_device`. In float32 on all of them.
        workers: processes that load images, for each GPU; on a CPU there are none.
    """

    def train(
        self,
        dataset: DetectionDataset,
        settings: TrainingSettings,
        workdir: Path,
        on_epoch: OnEpoch,
        *,
        keeper: CheckpointKeeper = _NO_CHECKPOINTS,
        resume_from: Checkpoint | None = None,
    ) -> TrainedModel:
        """See `Trainer.train`."""
        import torch

        from components.yolov8.epoch_watch import EpochWatch

        device = chosen_device(self._device, torch.cuda.device_count(), settings.batch)
        refuse_unusable(dataset, resume_from, versions())
        ultralytics = quiet_ultralytics()
        told: list[Mapping[str, float]] = []

        def tell(epoch: int, numbers: Mapping[str, float]) -> None:
            told.append(numbers)
            on_epoch(epoch, numbers)

        workdir.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        yolo = ultralytics.YOLO(str(_model_file(settings, len(dataset.classes), workdir)), task="detect")
        transferred = self._start_from_base_weights(ultralytics, yolo)
        threads_before = torch.get_num_threads()
        try:
            with warnings.catch_warnings(), _callbacks(device, workdir / "epochs", tell, keeper) as (hears, keeps):
                # The caller cannot act on what torch and Ultralytics warn about.
                warnings.simplefilter("ignore")
                EpochWatch(self._threads, hears, keeps, versions(), resume_from).register(yolo)
                yolo.train(**training_arguments(dataset, settings, workdir, device, self._workers))
                trained_s = time.monotonic() - begun
                weights = Path(yolo.trainer.best if yolo.trainer.best.exists() else yolo.trainer.last)
                network = ultralytics.YOLO(str(weights), task="detect").model.float().eval()
            onnx_path = workdir / "model.onnx"
            exported = export_onnx(
                network, settings.image_width, settings.image_height, dataset.classes, onnx_path, self._threads
            )
        finally:
            torch.set_num_threads(threads_before)
        epochs, before = len(told), resume_from.epoch if resume_from else 0
        _log.info("trained %d epochs on %d images in %.0f s", epochs - before, dataset.images["train"], trained_s)
        record = training_record(
            dataset,
            settings,
            exported,
            told=told,
            resumed_after=before,
            seconds=trained_s,
            parameters=sum(p.numel() for p in network.parameters()),
            transferred=transferred,
            device=device,
            threads=self._threads,
            versions=versions(),
        )
        return TrainedModel(onnx_path, record, weights)

    def _start_from_base_weights(self, ultralytics: Any, yolo: Any) -> int:
        """Load the tensors that fit into the network; returns their number."""
        if self._base_weights is None:
            return 0
        try:
            base = ultralytics.YOLO(str(self._base_weights), task="detect").model.float()
        except Exception as e:  # the restricted loader and the unpickler raise many kinds
            raise TrainingError(
                f"the base weights {self._base_weights.name} are not an Ultralytics detection checkpoint: {e}"
            ) from e
        own = yolo.model.state_dict()
        fitting = sum(1 for name, t in base.state_dict().items() if name in own and own[name].shape == t.shape)
        if fitting == 0:
            raise TrainingError(
                f"no tensor of the base weights {self._base_weights.name} fits this network; "
                "train with the `model` and `width_multiple` that the weights were made with"
            )
        yolo.load(base)
        return fitting


def arguments_of(settings: TrainingSettings, training_images: int) -> dict[str, Any]:
    """The arguments to Ultralytics without paths. Trainings with equal arguments and data are the same."""
    dataset = DetectionDataset(Path(), Path(), (), {"train": training_images}, "")
    places = ("data", "project", "name", "exist_ok")
    told = training_arguments(dataset, settings, Path(), CPU, 0)
    return {name: value for name, value in told.items() if name not in places}


def versions() -> dict[str, str]:
    """The versions of the libraries that train and export."""
    return {name: version(name) for name in ("torch", "ultralytics-opencv-headless", "onnx")}


@cache
def quiet_ultralytics() -> Any:
    """Import Ultralytics once, with all network access turned off and with a settings folder of its own.

    The folder lasts as long as the process, because Ultralytics keeps its path for as long as it is loaded.
    """
    folder = Path(tempfile.mkdtemp(prefix="kizu-ultralytics-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(_SWITCHES, YOLO_CONFIG_DIR=str(folder))
    # With a key in the environment, Ultralytics streams metrics and weights to its own platform.
    os.environ.pop("ULTRALYTICS_API_KEY", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matplotlib
        import ultralytics
        from ultralytics.utils import SETTINGS, USER_CONFIG_DIR

        # Ultralytics' check of a dataset downloads this font for plots. No plot is drawn, so any font will do.
        font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        shutil.copyfile(font, Path(USER_CONFIG_DIR) / "Arial.ttf")
        SETTINGS.update({name: False for name in _INTEGRATIONS if name in SETTINGS})
    return ultralytics


def _model_file(settings: TrainingSettings, classes: int, workdir: Path) -> Path:
    """Write the network's YAML file: Ultralytics' own, with this number of classes and this width."""
    ultralytics = quiet_ultralytics()
    source = Path(ultralytics.__file__).parent / "cfg" / "models" / "v8" / "yolov8.yaml"
    network = ultralytics.utils.YAML.load(source)
    depth, width, max_channels = network["scales"][settings.model]
    network["nc"] = classes
    network["scales"] = {settings.model: [depth, settings.width_multiple or width, max_channels]}
    # Ultralytics takes the scale from the last letter of the file's name.
    file = workdir / f"yolov8{settings.model}.yaml"
    file.write_text(json.dumps({k: v for k, v in network.items() if k != "yaml_file"}), encoding="utf-8")
    return file


@contextmanager
def _callbacks(
    device: str, folder: Path, on_epoch: OnEpoch, keeper: CheckpointKeeper
) -> Iterator[tuple[OnEpoch, CheckpointKeeper]]:
    """The callbacks themselves; with several GPUs, callbacks that work in Ultralytics' other processes."""
    if "," not in device:
        yield on_epoch, keeper
        return
    with far_side(folder, on_epoch, keeper) as far:
        yield far.on_epoch, far


def training_arguments(
    dataset: DetectionDataset, settings: TrainingSettings, workdir: Path, device: str, workers: int
) -> dict[str, Any]:
    """The arguments of Ultralytics' `train`. device: as `chosen_device` returns it."""
    augmentation = settings.augmentation
    return {
        "data": str(dataset.data_file),
        # Ultralytics trains on squares of the longer side; the export has the shape of the images.
        "imgsz": max(settings.image_width, settings.image_height),
        "epochs": settings.epochs,
        "batch": settings.batch,
        # The default of 64 accumulates gradients over several batches: too few steps in a short training.
        "nbs": settings.batch,
        "patience": settings.patience,
        "seed": settings.seed,
        "deterministic": True,
        "device": device,
        "workers": 0 if device == CPU else workers,
        "cache": "ram" if dataset.images["train"] <= _CACHED_IMAGES else False,
        # With mixed precision, Ultralytics first downloads a model for a check.
        "amp": False,
        "optimizer": "AdamW",
        "lr0": settings.learning_rate,
        "lrf": _FINAL_RATE,
        "cos_lr": True,
        "warmup_epochs": min(_WARMUP_EPOCHS, settings.epochs // 2),
        "mosaic": augmentation.mosaic,
        "close_mosaic": settings.epochs // 5,
        "scale": augmentation.scale,
        "fliplr": augmentation.flip_horizontal,
        "flipud": augmentation.flip_vertical,
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": augmentation.hsv_v,
        "erasing": 0.0,
        # Without early stopping only the last epoch is validated. It is the best, as the learning rate ends near 0.
        "val": settings.patience > 0,
        "plots": False,
        "verbose": False,
        "exist_ok": True,
        "project": str(workdir.resolve()),
        "name": "ultralytics",
    }
