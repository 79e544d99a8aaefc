"""Runs registered models for the report. The bytes of a version never change, so it gives the same boxes as before."""

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
from inspection.model_rules import lanes
from inspection.verdict import ClassThreshold

_log = logging.getLogger(__name__)

FLOOR: Final = 0.02
"""The lowest score of a detection that the report uses, 0..1."""
_THREADS: Final = 2

Detect = Callable[[NDArray[np.uint8]], tuple[Detection, ...]]
"""(height, width, 3) uint8 BGR -> detections with a score of at least `FLOOR`, highest score first."""


@dataclass(frozen=True, slots=True)
class ReportModel:
    """A model version that is ready to run. thresholds: class -> its thresholds, as approved."""

    name: str
    version: int
    thresholds: Mapping[str, ClassThreshold]
    detect: Detect

    @property
    def title(self) -> str:
        """Name and version, in the form in which a label event names the model whose boxes were shown."""
        return f"{self.name}/{self.version}"

    def shown(self, detections: tuple[Detection, ...]) -> tuple[Detection, ...]:
        """Return the detections that a labeler sees: those that reach the `uncertain` threshold of their class."""
        return tuple(d for d in detections if d.score >= self.thresholds[d.class_name].uncertain)


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no champion that can be run. reason: why, in words."""

    reason: str


def ask_champion(config: Settings, model: str) -> ReportModel | Absent:
    """Return the champion of a model, or the reason why it cannot be run. The rest of a report does not need it."""
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
    """Return a version of a model; None if it was removed or cannot be read."""
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
    at_once, threads = lanes(report.preprocess.tiles is not None, _THREADS)
    infer, _ = open_session(onnx, len(report.classes), threads=threads, output=report.output)
    always = {known: ClassThreshold(fail=1.0, uncertain=FLOOR) for known in report.classes}
    inspector = Inspector(
        infer,
        report.preprocess.to_preprocess(),
        report.classes,
        always,
        report.nms,
        output=report.output,
        at_once=at_once,
        score_tables=report.score_tables,
    )
    return ReportModel(name, version, dict(report.thresholds), lambda image: inspector.detect(image, FLOOR))
