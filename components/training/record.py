"""The record of a training, which is stored beside the model. All detectors use the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.training.onnx_file import Exported
from components.training.trainer import DetectionDataset
from components.use_case import TrainingSettings


def training_record(
    dataset: DetectionDataset,
    settings: TrainingSettings,
    exported: Exported,
    *,
    told: Sequence[Mapping[str, float]],
    resumed_after: int,
    seconds: float,
    parameters: int,
    transferred: int,
    device: str,
    threads: int,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The record as a mapping of JSON values.

    told: the numbers of each epoch. resumed_after: number of epochs before the checkpoint that the training continued
    from, else 0. seconds: time spent training. transferred: number of tensors that came from base weights. versions: of
    the libraries that train and export.
    """
    return {
        "schema_version": 1,
        "dataset_digest": dataset.digest,
        "classes": list(dataset.classes),
        "images": dict(dataset.images),
        "settings": settings.model_dump(mode="json"),
        "epochs_run": len(told),
        "resumed_after_epoch": resumed_after,
        "training_seconds": round(seconds, 1),
        "parameters": parameters,
        "tensors_from_base_weights": transferred,
        "last_epoch": dict(told[-1]) if told else {},
        "device": device,
        "threads": threads,
        "model_sha256": exported.sha256,
        "input": {"width": settings.image_width, "height": settings.image_height},
        "opset": exported.opset,
        "parity_max_difference": exported.parity_max_difference,
        "versions": dict(versions),
    }
