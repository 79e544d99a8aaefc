"""A registered model as the report asks it: what it says of an image now, which is what it said then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.settings import Settings, SettingsError
from components.stores.models.champion import champion
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.onnx_session import ModelError, open_session
from components.stores.models.registry import (
    EVALUATION_REPORT,
    MODEL_FILE,
    ModelRegistry,
    ModelRegistryError,
    NoSuchModel,
)
from inspection.codec import DocumentError
from inspection.geometry import Detection
from inspection.image import sha256_of
from inspection.inspector import Inspector
from inspection.verdict import ClassThreshold

_log = logging.getLogger(__name__)

FLOOR: Final = 0.02
"""The lowest score that is asked for, 0..1: below it there is nothing, for all that the model knows."""
_THREADS: Final = 2

Detect = Callable[[NDArray[np.uint8]], tuple[Detection, ...]]
"""(height, width, 3) uint8 BGR -> detections from `FLOOR` on, highest score first."""


@dataclass(frozen=True, slots=True)
class ReportModel:
    """A version of a model and how to ask it. thresholds: class -> its thresholds, as approved."""

    name: str
    version: int
    thresholds: Mapping[str, ClassThreshold]
    detect: Detect

    @property
    def title(self) -> str:
        """Name and version, as label events say which model's boxes a person began with."""
        return f"{self.name}/{self.version}"

    def shown(self, detections: tuple[Detection, ...]) -> tuple[Detection, ...]:
        """Those that a labeler is shown: from the class's `uncertain` threshold on."""
        return tuple(d for d in detections if d.score >= self.thresholds[d.class_name].uncertain)


@dataclass(frozen=True, slots=True)
class Absent:
    """Why there is no champion to ask, in words."""

    reason: str


def ask_champion(config: Settings, model: str) -> ReportModel | Absent:
    """The champion of a model, or why it cannot be asked: the rest of a report does not need it."""
    try:
        found = champion(ModelRegistry.from_settings(config), model)
        if found is None:
            return Absent(f"no version of {model} was rolled out yet")
        return _open(model, found.version.version, found.onnx, found.report)
    except SettingsError:
        return Absent("no MLflow is configured (MLFLOW_TRACKING_URI)")
    except (ModelRegistryError, ModelError, DocumentError) as e:
        _log.warning("the champion of %s cannot be asked: %s", model, e)
        return Absent(f"the champion of {model} cannot be asked: {e}")


def ask_version(config: Settings, model: str, version: int) -> ReportModel | None:
    """An earlier version; None where it is not to be had any more."""
    try:
        registry = ModelRegistry.from_settings(config)
        found = registry.version(model, version)
        return _open(
            model,
            version,
            registry.get_artifact(found.run_id, MODEL_FILE),
            EvaluationReport.from_json(registry.get_artifact(found.run_id, EVALUATION_REPORT)),
        )
    except NoSuchModel:
        return None
    except (SettingsError, ModelRegistryError, ModelError, DocumentError) as e:
        _log.warning("version %d of %s cannot be asked: %s", version, model, e)
        return None


def _open(name: str, version: int, onnx: bytes, report: EvaluationReport) -> ReportModel:
    if sha256_of(onnx) != report.model_sha256:
        raise ModelError(f"the bytes are {sha256_of(onnx)}, but {report.model_sha256} was evaluated")
    infer, _ = open_session(onnx, len(report.classes), threads=_THREADS)
    always = {known: ClassThreshold(fail=1.0, uncertain=FLOOR) for known in report.classes}
    inspector = Inspector(infer, report.preprocess.to_preprocess(), report.classes, always, report.nms)
    return ReportModel(name, version, dict(report.thresholds), lambda image: inspector.detect(image, FLOOR))
