"""The only place that names images and tags; a cluster replaces the registry when it submits or applies."""

from __future__ import annotations

from typing import Final

REGISTRY: Final = "kizu"
TAG: Final = "0.1.0"

LABELING: Final = f"{REGISTRY}/labeling:{TAG}"
DATA: Final = f"{REGISTRY}/data:{TAG}"
TRAINING: Final = f"{REGISTRY}/training:{TAG}"
CONTROL: Final = f"{REGISTRY}/control:{TAG}"
EDGE: Final = f"{REGISTRY}/edge:{TAG}"
MLFLOW: Final = f"{REGISTRY}/mlflow:{TAG}"
LABEL_STUDIO: Final = f"{REGISTRY}/labelstudio:{TAG}"
