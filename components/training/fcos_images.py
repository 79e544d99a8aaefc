"""The images of a dataset as the device will see them, and augmented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from components.training.trainer import DetectionDataset
from components.use_case import Augmentation, TrainingSettings
from inspection.image import decode_image
from inspection.preprocess import Preprocess, letterbox

_GREY: Final = 114
_SMALLEST: Final = 3.0  # pixels: a box with a shorter side after cropping or scaling is left out
_SMALLEST_SCALE: Final = 0.1
_SHIFT: Final = 0.1
# Above this size of all images together, they are read from disk in each epoch instead of kept in memory.
_KEPT_BYTES: Final = 1_500_000_000

Example = dict[str, Any]
"""`image`: (3, height, width) uint8; `boxes`: (n, 4) xyxy in input pixels; `labels`: (n,) int64 from 0."""


class Images(Dataset[Example]):  # type: ignore[misc]  # torch is not followed by mypy
    """The images of a split, letterboxed as `inspection` does it.

    Args:
        augmentation: None leaves the images as they are.
        keep: keep images in memory once they are read, if all fit. It is of no use in processes that load images, which
            end with each epoch.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        split: str,
        settings: TrainingSettings,
        augmentation: Augmentation | None,
        *,
        keep: bool = True,
    ) -> None:
        self._files = sorted((dataset.folder / "images" / split).iterdir())
        self._preprocess = Preprocess(settings.image_width, settings.image_height, pad_value=_GREY)
        self._mosaic = augmentation.mosaic if augmentation else 0.0
        self._changes = _changes(augmentation) if augmentation else None
        size = 3 * settings.image_width * settings.image_height * len(self._files)
        self._kept: dict[int, Example] | None = {} if keep and size <= _KEPT_BYTES else None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        if self._mosaic and float(torch.rand(())) < self._mosaic:
            others = torch.randint(len(self), (3,)).tolist()
            example = _mosaic([self._read(number) for number in (index, *others)])
        else:
            example = self._read(index)
        if self._changes is not None:
            example = self._changes(example)
        return example

    def without_mosaic(self) -> None:
        """Make no mosaics from now on. The last epochs should see whole images."""
        self._mosaic = 0.0

    def _read(self, index: int) -> Example:
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        file = self._files[index]
        tensor, geometry = letterbox(decode_image(file.read_bytes()), self._preprocess)
        image = torch.from_numpy((tensor[0] * 255).round().astype(np.uint8))
        labels = file.parents[2] / "labels" / file.parent.name / f"{file.stem}.txt"
        rows = np.array([line.split() for line in labels.read_text().splitlines()], np.float64).reshape(-1, 5)
        side = np.array([geometry.image_width * geometry.scale_x, geometry.image_height * geometry.scale_y])
        centre = rows[:, 1:3] * side + (geometry.pad_left, geometry.pad_top)
        half = rows[:, 3:5] * side / 2
        example = _example(image, np.concatenate([centre - half, centre + half], axis=1), rows[:, 0])
        if self._kept is not None:
            self._kept[index] = example
        return example


def batch_of(examples: Sequence[Example]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """A batch: (n, 3, height, width) float32 in 0..1, and the boxes and labels of each image."""
    images = torch.stack([example["image"].as_subclass(Tensor) for example in examples]).float() / 255
    return images, [
        {"boxes": example["boxes"].as_subclass(Tensor).float(), "labels": example["labels"]} for example in examples
    ]


def _changes(augmentation: Augmentation) -> v2.Compose:
    return v2.Compose(
        [
            v2.RandomAffine(
                0.0,
                translate=(_SHIFT, _SHIFT),
                scale=(max(_SMALLEST_SCALE, 1 - augmentation.scale), 1 + augmentation.scale),
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=_GREY,
            ),
            v2.RandomHorizontalFlip(augmentation.flip_horizontal),
            v2.RandomVerticalFlip(augmentation.flip_vertical),
            v2.ColorJitter(brightness=augmentation.hsv_v),
            v2.ClampBoundingBoxes(),
            v2.SanitizeBoundingBoxes(min_size=_SMALLEST),
        ]
    )


def _mosaic(examples: Sequence[Example]) -> Example:
    """Lay four images in a square and crop one image's size from it, with the corner where they meet inside."""
    height, width = examples[0]["image"].shape[-2:]
    image = torch.empty((3, 2 * height, 2 * width), dtype=torch.uint8)
    boxes = []
    for number, example in enumerate(examples):
        top, left = height * (number // 2), width * (number % 2)
        image[:, top : top + height, left : left + width] = example["image"]
        boxes.append(example["boxes"].as_subclass(Tensor) + torch.tensor([left, top, left, top]))
    whole = {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(torch.cat(boxes), format="XYXY", canvas_size=(2 * height, 2 * width)),
        "labels": torch.cat([example["labels"] for example in examples]),
    }
    cut = v2.Compose([v2.RandomCrop((height, width)), v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(_SMALLEST)])
    found: Example = cut(whole)
    return found


def _example(image: Tensor, xyxy: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> Example:
    boxes = torch.from_numpy(np.ascontiguousarray(xyxy, np.float32))
    return {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=tuple(image.shape[-2:])),
        "labels": torch.from_numpy(classes.astype(np.int64)),
    }
