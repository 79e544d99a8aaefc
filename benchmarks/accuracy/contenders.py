"""The trainings that are compared: plain training from scratch, the shipped use case, and what else was tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from components.use_case import TrainingSettings, UseCase

PLAIN: Final = "plain"
SHIPPED: Final = "shipped"
_SCRATCH: Final = {"base_weights": None, "pretraining": None}

TRIED: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "scratch": ("our settings from scratch, 320×224, 36 epochs", {**_SCRATCH, "learning_rate": 0.002}),
    "larger": (
        "the same at 448×320, 40 epochs, from weights learned at 320×224",
        {
            "image_width": 448,
            "image_height": 320,
            "epochs": 40,
            "pretraining": {"image_width": 320, "image_height": 224},
        },
    ),
    "fcos": (
        "`detector: fcos`, `model: s`, 60 epochs, from scratch",
        {"detector": "fcos", "model": "s", "epochs": 60, "learning_rate": 0.002, **_SCRATCH},
    ),
    "burr": ("base weights from the other line of parts (`scratches: burr`)", {"pretraining": {"scratches": "burr"}}),
}
"""Name -> a description, and the settings that differ from the shipped ones."""


def contenders(use_case: UseCase, tried: Iterable[str] = ()) -> dict[str, tuple[str, TrainingSettings | None]]:
    """Name -> a description, and the settings to train with.

    None instead of settings trains plain Ultralytics (`benchmarks.accuracy.plain`).

    Args:
        tried: names in `TRIED` to add to the two that are always compared.

    Raises:
        ValueError: a name in `tried` is not in `TRIED`.
    """
    unknown = sorted(set(tried) - TRIED.keys())
    if unknown:
        raise ValueError(f"expected of {', '.join(TRIED)}, but got {', '.join(unknown)}")
    shipped = use_case.training
    found: dict[str, tuple[str, TrainingSettings | None]] = {
        PLAIN: ("plain: `yolo detect train` as it comes, YOLOv8n from scratch, 320, 36 epochs", None),
        SHIPPED: (f"as `use_cases/{use_case.name}.yaml` has it", shipped),
    }
    return found | {name: (TRIED[name][0], changed(shipped, TRIED[name][1])) for name in tried}


def changed(settings: TrainingSettings, change: Mapping[str, Any]) -> TrainingSettings:
    """The settings with some keys changed. A section is changed key by key."""
    document = settings.model_dump(mode="json")
    for name, value in change.items():
        document[name] = {**document[name], **value} if isinstance(value, Mapping) else value
    return TrainingSettings.model_validate(document)
