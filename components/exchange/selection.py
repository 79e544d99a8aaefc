"""What is exported: the latest approved labels of a use case, or a frozen dataset with its splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from components.stores.datasets.manifest import Manifest
from components.stores.labels.store import LabelEvent
from inspection.geometry import LabelledBox


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """An image and its boxes (pixels). split: '' if the labels are not split; at: ISO 8601, '' if unknown."""

    sha256: str
    uri: str
    width: int
    height: int
    group: str
    boxes: tuple[LabelledBox, ...]
    split: str = ""
    at: str = ""


def from_labels(approved: Mapping[str, LabelEvent]) -> list[Selected]:
    """The approved labels (sha256 -> event), sorted by sha256, so that the same labels give the same file."""
    return [
        Selected(
            sha256=event.sha256,
            uri=event.image_uri,
            width=event.width,
            height=event.height,
            group=event.group,
            boxes=_in_order(event.boxes),
            at=event.at.isoformat(),
        )
        for _, event in sorted(approved.items())
    ]


def from_manifest(manifest: Manifest) -> list[Selected]:
    """The images of a dataset, sorted by sha256."""
    return [
        Selected(
            sha256=image.sha256,
            uri=image.uri,
            width=image.width,
            height=image.height,
            group=image.group,
            boxes=image.labels,
            split=image.split.value,
        )
        for image in sorted(manifest.images, key=lambda image: image.sha256)
    ]


def _in_order(boxes: Iterable[LabelledBox]) -> tuple[LabelledBox, ...]:
    return tuple(sorted(boxes, key=lambda b: (b.class_name, *b.box.xyxy)))
