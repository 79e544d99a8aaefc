"""One training by the product's library in a process of its own: as the step trains, curves to MLflow included.

`python -m benchmarks.training.ours '<order>'`; the last line that it prints is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from components.model_registry import ModelRegistry
from components.settings import settings
from components.training.trainer import DetectionDataset
from components.training.yolov8 import UltralyticsTrainer
from components.use_case import TrainingSettings


def main() -> None:
    """Train, and say when that was done and when the model was exported (CLOCK_MONOTONIC, seconds)."""
    order = json.loads(sys.argv[1])
    dataset = DetectionDataset(
        Path(order["folder"]), Path(order["data_file"]), tuple(order["classes"]), order["images"], "0" * 64
    )
    config = settings()
    registry = ModelRegistry.from_settings(config) if config.mlflow_tracking_uri else None
    run_id = registry.start_run("bench", "bench", {}) if registry else ""

    def on_epoch(epoch: int, numbers: Mapping[str, float]) -> None:
        if registry:
            registry.log_metrics(run_id, numbers, step=epoch)

    began = time.monotonic()
    trained = UltralyticsTrainer(threads=order["threads"]).train(
        dataset, TrainingSettings.model_validate(order["settings"]), Path(order["workdir"]), on_epoch
    )
    ended = time.monotonic()
    if registry:
        registry.end_run(run_id)
    said = {
        "trained_at": began + trained.record["training_seconds"],
        "ended_at": ended,
        "threads": trained.record["threads"],
    }
    sys.stdout.write(f"\n{json.dumps(said)}\n")


if __name__ == "__main__":
    main()
