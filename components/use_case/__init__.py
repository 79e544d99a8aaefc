"""The use case file: one YAML file a product."""

from components.use_case.acceptance import AcceptanceSection
from components.use_case.automation import Schedule, Schedules
from components.use_case.document import UseCase, UseCaseError, load_use_case, parse_use_case, write_schema
from components.use_case.labeling import Grouping, Labeling, Priority, Split
from components.use_case.pictures import Tiles
from components.use_case.policy import Cost, Gates, Operating, Rollout, SamplingPolicy
from components.use_case.training import (
    Augmentation,
    BaseWeights,
    Pretraining,
    Resources,
    Retraining,
    Toleration,
    TrainingSettings,
)

__all__ = [
    "AcceptanceSection",
    "Augmentation",
    "BaseWeights",
    "Cost",
    "Gates",
    "Grouping",
    "Labeling",
    "Operating",
    "Pretraining",
    "Priority",
    "Resources",
    "Retraining",
    "Rollout",
    "SamplingPolicy",
    "Schedule",
    "Schedules",
    "Split",
    "Tiles",
    "Toleration",
    "TrainingSettings",
    "UseCase",
    "UseCaseError",
    "load_use_case",
    "parse_use_case",
    "write_schema",
]
