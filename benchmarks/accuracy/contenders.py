"""Who is compared: plain training from scratch, what the use case ships, and what was tried besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from components.use_case import TrainingSettings, UseCase

PLAIN: Final = "plain"
SHIPPED: Final = "shipped"
_SCRATCH: Final = {"base_weights": None, "pretraining": None}

TRIED: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "scratch": ("the same without base weights", _SCRATCH),
    "fcos": (
        "the same with `detector: fcos`, `model: s`, 60 epochs",
        {"detector": "fcos", "model": "s", "epochs": 60, "learning_rate": 0.002},
    ),
    "burr": ("base weights from the other line of parts (`scratches: burr`)", {"pretraining": {"scratches": "burr"}}),
}
"""Name -> what it is, and the settings in which it differs from the shipped ones."""


def contenders(use_case: UseCase, tried: bool) -> dict[str, tuple[str, TrainingSettings]]:
    """Name -> what it is, and how it is trained."""
    shipped = use_case.training
    plain = TrainingSettings(
        model="n", image_width=320, image_height=shipped.image_height, epochs=36, batch=8, seed=shipped.seed
    )
    found = {
        PLAIN: ("plain YOLOv8n from scratch, 320, 36 epochs", plain),
        SHIPPED: (f"as `use_cases/{use_case.name}.yaml` has it", shipped),
    }
    if tried:
        found.update({name: (said, _changed(shipped, change)) for name, (said, change) in TRIED.items()})
    return found


def _changed(settings: TrainingSettings, change: Mapping[str, Any]) -> TrainingSettings:
    """The settings with some keys changed; what is a section changes key by key."""
    document = settings.model_dump(mode="json")
    for name, value in change.items():
        document[name] = {**document[name], **value} if isinstance(value, Mapping) else value
    return TrainingSettings.model_validate(document)
