"""The only place that names images and tags; a cluster replaces the registry when it submits or applies."""

from __future__ import annotations

from typing import Final

REGISTRY: Final = "kizu"
TAG: Final = "0.1.0"

LABELING: Final = f"{REGISTRY}/labeling:{TAG}"
DATA: Final = f"{REGISTRY}/data:{TAG}"
TRAINING: Final = f"{REGISTRY}/training:{TAG}"
TRAINING_PERMISSIVE: Final = f"{REGISTRY}/training-permissive:{TAG}"
"""Without YOLOv8, and so without a line under AGPL-3.0."""
CONTROL: Final = f"{REGISTRY}/control:{TAG}"
EDGE: Final = f"{REGISTRY}/edge:{TAG}"
MLFLOW: Final = f"{REGISTRY}/mlflow:{TAG}"
LABEL_STUDIO: Final = f"{REGISTRY}/labelstudio:{TAG}"
POSTGRES: Final = "postgres:17.5-bookworm"
MOSQUITTO: Final = "eclipse-mosquitto:2.0.21"
OF_OTHERS: Final = (POSTGRES, MOSQUITTO)
"""The images that optional components of a cluster take as others made them: from the nodes' default registry, unless a
registry of your own has them."""
