"""The photographs: real ones from a folder, or else generated ones, split by part as the product splits them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.dataset.split import split_of
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName, regions
from components.use_case import UseCase, load_use_case
from demo.data import from_folder, generated
from inspection import Preprocess, decode_image, sha256_of

GENERATED_PARTS = 90
_USE_CASES = Path(__file__).resolve().parents[2] / "use_cases"
TAGS = ("metal-tag-public", "metal tags")
BOARDS = ("pcb", "pieces of circuit boards")


@dataclass(frozen=True, slots=True)
class Material:
    """A dataset and the bytes of its images. said: a description without a path of this machine."""

    use_case: UseCase
    manifest: Manifest
    images: Mapping[str, bytes]
    said: str

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of an image into the input size of the use case."""
        training = self.use_case.training
        return Preprocess(training.image_width, training.image_height)

    def fetch(self, uri: str, sha256: str) -> bytes:
        """The bytes of an image, through the interface that the training uses."""
        return self.images[sha256]

    def of(self, *splits: SplitName) -> Iterator[tuple[ManifestImage, bytes]]:
        """The entries of some splits, with the bytes of their images."""
        for split in splits:
            for entry in self.manifest.of(split):
                yield entry, self.images[entry.sha256]


def load_material(folder: Path | None, product: tuple[str, str] = TAGS) -> Material:
    """The labelled photographs of a folder (see `from_folder`), or generated metal tags.

    product: the name of the use case, and what the photographs show.
    """
    use_case = load_use_case(_USE_CASES / f"{product[0]}.yaml")
    data = generated(GENERATED_PARTS, 0) if folder is None else from_folder(folder, use_case)
    entries, images = [], {}
    for frame in (*data.first, *data.device):
        sha256 = sha256_of(frame.data)
        if sha256 not in data.truth:
            continue
        height, width = decode_image(frame.data).shape[:2]
        images[sha256] = frame.data
        entries.append(
            ManifestImage(
                sha256=sha256,
                uri=f"file:{sha256}",
                width=width,
                height=height,
                group=frame.part_id,
                split=split_of(use_case.grouping.unit_of(frame.part_id), use_case.split),
                boxes=regions(data.truth[sha256]),
            )
        )
    manifest = Manifest(
        use_case=use_case.name,
        classes=use_case.classes,
        split_seed=use_case.split.seed,
        images=tuple(sorted(entries, key=lambda entry: entry.sha256)),
    )
    parts = len({entry.group for entry in entries})
    kind = "generated" if folder is None else "public"
    return Material(use_case, manifest, images, f"{len(entries)} {kind} photographs of {parts} {product[1]}")
