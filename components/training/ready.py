"""A pure rule: whether a product that began with good parts has enough defects for a detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from components.stores.datasets.manifest import Manifest, SplitName

ENOUGH_PARTS: Final = 20
"""Parts with a defect of a class that a detector needs, over all splits; in validation and test it needs some too."""


def ready_for_detector(manifest: Manifest) -> str:
    """In words: whether each class has enough parts for a detector to learn from, and how many are missing."""
    parts: dict[str, dict[str, SplitName]] = {name: {} for name in manifest.classes}
    for image in manifest.images:
        for box in image.boxes:
            parts[box.class_name][image.group] = image.split
    counted = ", ".join(f"{name} {len(found)}" for name, found in parts.items())
    if all(_is_enough(found) for found in parts.values()):
        return (
            f"each class has enough parts for a detector ({counted}): set `training.detector` to yolov8 or fcos "
            "(docs/how-to/good-parts-only.md)"
        )
    return f"parts with a defect so far: {counted}; a detector needs {ENOUGH_PARTS} of each class, some in every split"


def _is_enough(found: Mapping[str, SplitName]) -> bool:
    return len(found) >= ENOUGH_PARTS and set(found.values()) == set(SplitName)
