"""A small generated dataset, as a manifest and the bytes behind it."""

from dataclasses import dataclass

from components.generated_parts.photographs import LineGenerator
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName, regions
from inspection.geometry import LabelledBox
from inspection.image import decode_image, sha256_of


@dataclass(frozen=True)
class Line:
    """A manifest and the images that it names."""

    manifest: Manifest
    images: dict[str, bytes]

    def fetch(self, uri: str, sha256: str) -> bytes:
        return self.images[sha256]


def entry(data: bytes, split: SplitName, boxes=(), group: str = "g") -> ManifestImage:
    height, width = decode_image(data).shape[:2]
    return ManifestImage(
        sha256=sha256_of(data),
        uri=f"s3://kizu-raw/{sha256_of(data)}",
        width=width,
        height=height,
        group=group,
        split=split,
        boxes=regions(boxes),
    )


def manifest_of(images: list[ManifestImage], classes: tuple[str, ...] = ("scratch",)) -> Manifest:
    ordered = tuple(sorted(images, key=lambda i: i.sha256))
    return Manifest(use_case="tag", classes=classes, split_seed=0, images=ordered)


def generated_line(
    train: int = 8, val: int = 3, test: int = 2, *, defect_rate: float = 1.0, class_name: str = "scratch"
) -> Line:
    """A line of `train`, `val` and `test` parts, one photograph each."""
    generator = LineGenerator(11, defect_rate, photographs_per_part=1)
    splits = [SplitName.TRAIN] * train + [SplitName.VAL] * val + [SplitName.TEST] * test
    entries, images = [], {}
    for photo, split in zip(generator.photographs(range(len(splits))), splits, strict=True):
        boxes = [LabelledBox(class_name, labelled.box) for labelled in photo.boxes]
        entries.append(entry(photo.jpeg, split, boxes, photo.part_id))
        images[sha256_of(photo.jpeg)] = photo.jpeg
    return Line(manifest_of(entries, (class_name,)), images)
