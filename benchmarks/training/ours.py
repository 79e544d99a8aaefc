"""One training by the product's library in a process of its own, as the step trains, with curves sent to MLflow.

`python -m benchmarks.training.ours '<order>'`; the last line that it prints is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from components.settings import settings
from components.training.trainer import DetectionDataset, OnEpoch
from components.use_case import TrainingSettings
from components.yolov8.trainer import UltralyticsTrainer


def main() -> None:
    """Train, and print when the training began and ended and when the export ended (CLOCK_MONOTONIC, seconds)."""
    order = json.loads(sys.argv[1])
    dataset = DetectionDataset(
        Path(order["folder"]), Path(order["data_file"]), tuple(order["classes"]), order["images"], "0" * 64
    )
    on_epoch, end = _curves()
    began = time.monotonic()
    trained = UltralyticsTrainer(threads=order["threads"]).train(
        dataset, TrainingSettings.model_validate(order["settings"]), Path(order["workdir"]), on_epoch
    )
    ended = time.monotonic()
    end()
    said = {
        "began_at": began,
        "trained_at": began + trained.record["training_seconds"],
        "ended_at": ended,
        "threads": trained.record["threads"],
    }
    sys.stdout.write(f"\n{json.dumps(said)}\n")


def _curves() -> tuple[OnEpoch, Callable[[], None]]:
    """The functions to call after each epoch and at the end. Without an MLflow they do nothing."""
    config = settings()
    if not config.mlflow_tracking_uri:
        return (lambda epoch, numbers: None), (lambda: None)
    from components.stores.models.registry import ModelRegistry

    registry = ModelRegistry.from_settings(config)
    run_id = registry.start_run("bench", "bench", {})
    return (lambda epoch, numbers: registry.log_metrics(run_id, numbers, step=epoch)), (
        lambda: registry.end_run(run_id)
    )


if __name__ == "__main__":
    main()
