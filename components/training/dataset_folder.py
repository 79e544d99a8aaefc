"""A dataset manifest as a folder in YOLO's layout."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName
from components.stores.objects.image_cache import Fetch
from components.stores.objects.read_ahead import read_ahead
from components.training.tile_examples import examples_of
from components.training.trainer import DetectionDataset, TrainingError
from components.use_case import Tiles
from inspection.drift import count_pictures
from inspection.geometry import LabelledBox
from inspection.image import ImageError, read_picture, sha256_of
from inspection.picture import PictureMeasure, derive
from inspection.preprocess import Preprocess
from inspection.tiles import measure_picture

LEARNED_SPLITS: Final = (SplitName.TRAIN, SplitName.VAL)
"""The splits that a training reads. Test is not among them."""

_PIXELS_AT_ONCE: Final = 64_000_000  # three bytes each when decoded, and at most as many again as a PNG


def write_dataset(
    manifest: Manifest,
    fetch: Fetch,
    folder: Path,
    preprocess: Preprocess | None = None,
    tiles: Tiles | None = None,
    *,
    needs_defects: bool = True,
) -> DetectionDataset:
    """Write the train and val images of a manifest below `folder` and check each one's bytes and size.

    The test split is not written: a training must not be able to read it. Images are decoded as the device decodes them
    (`inspection.read_picture`: EXIF, CMYK, at the release's part of their sides) and stored without loss, so that the
    network learns from the pixels that it will see on the device. Where the device cuts tiles, tiles are stored.

    Threads fetch and decode several images at once, as many as `_PIXELS_AT_ONCE` allows. The folder does not depend on
    their order. Of several errors, that of the first image in the manifest's order is raised.

    Args:
        preprocess: the network's input. With it, the images of the training split are measured as the network gets
            them, and the dataset has the limits of a healthy picture, and counts of what the pictures are like.
        tiles: of the use case, where `preprocess` cuts tiles: which of them are learned from.
        needs_defects: whether the training split needs a box, and not a good part.

    Raises:
        TrainingError: a split has no image, or none of its tiles is learned from, the training split has nothing to
            learn from, an image has other bytes or another size than the manifest says, or a box has a class that the
            manifest does not name.
    """
    counts = {split.value: len(manifest.of(split)) for split in LEARNED_SPLITS}
    for split, count in counts.items():
        if count == 0:
            raise TrainingError(f"the {split} split of dataset {manifest.digest} has no image; label more parts")
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
    measured: list[PictureMeasure] = []
    written: Counter[str] = Counter()
    entries = [image for split in LEARNED_SPLITS for image in manifest.of(split)]
    done = read_ahead(
        lambda image: _write_image(image, manifest.classes, fetch, folder, preprocess, tiles),
        entries,
        cost=lambda image: image.width * image.height,
        at_most=_PIXELS_AT_ONCE,
    )
    for entry, (files, found) in zip(entries, done, strict=True):
        written[entry.split.value] += files
        if found is not None:
            measured.append(found)
    if needs_defects and not any(image.boxes for image in manifest.of(SplitName.TRAIN)):
        raise TrainingError(
            f"none of the {counts['train']} training images of dataset {manifest.digest} shows a defect; "
            "there is nothing to learn: label defective parts first"
        )
    if not needs_defects and all(image.boxes for image in manifest.of(SplitName.TRAIN)):
        raise TrainingError(
            f"all of the {counts['train']} training images of dataset {manifest.digest} show a defect; "
            "there is no good part to learn from: label good parts first"
        )
    for split in counts:
        if not written[split]:
            raise TrainingError(
                f"no tile of the {split} split of dataset {manifest.digest} is learned from: none shows a defect, and "
                "tiles.empty_tiles is 0; raise it, or label more parts"
            )
    return DetectionDataset(
        folder, _write_data_file(folder, len(manifest.classes)), manifest.classes,
        {split: written[split] for split in counts}, manifest.digest,
        derive(measured), count_pictures(measured) if preprocess is not None else None,
    )  # fmt: skip


def _write_data_file(folder: Path, classes: int) -> Path:
    data_file = folder / "data.yaml"
    content = {
        "path": str(folder.resolve()),
        "train": "images/train",
        "val": "images/val",
        "names": {i: f"c{i}" for i in range(classes)},
    }
    # JSON is valid YAML, and quotes a folder's name with a blank, a quote or kanji correctly.
    data_file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return data_file


def _write_image(
    entry: ManifestImage,
    classes: tuple[str, ...],
    fetch: Fetch,
    folder: Path,
    preprocess: Preprocess | None,
    tiles: Tiles | None,
) -> tuple[int, PictureMeasure | None]:
    """The number of files that were written for an image, and what was measured of it."""
    data = fetch(entry.uri, entry.sha256)
    if sha256_of(data) != entry.sha256:
        raise TrainingError(f"{entry.uri}: expected sha256 {entry.sha256}, but the bytes have {sha256_of(data)}")
    try:
        picture = read_picture(data, shrink=preprocess.shrink if preprocess is not None else 1)
    except ImageError as e:
        raise TrainingError(f"{entry.uri}: an image of the dataset cannot be read: {e}") from e
    width, height = picture.width, picture.height
    if (width, height) != (entry.width, entry.height):
        raise TrainingError(
            f"{entry.uri}: expected {entry.width}x{entry.height} pixels as in the manifest, but got {width}x{height}"
        )
    files = 0
    if preprocess is None or preprocess.tiles is None:
        _write_example(folder, entry, "", picture.pixels, label_lines(entry.labels, classes, width, height))
        files = 1
    else:
        assert tiles is not None
        for example in examples_of(picture, entry.labels, preprocess, tiles, entry.sha256):
            lines = label_lines(example.labels, classes, preprocess.width, preprocess.height)
            _write_example(folder, entry, f"-{example.number:05d}", example.pixels, lines)
            files += 1
    if preprocess is None or entry.split is not SplitName.TRAIN:
        return files, None
    return files, measure_picture(picture, preprocess)


def _write_example(folder: Path, entry: ManifestImage, suffix: str, pixels: NDArray[np.uint8], lines: str) -> None:
    # The fastest compression, because the folder is removed after the training.
    ok, png = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise TrainingError(f"{entry.uri}: OpenCV could not write the image as PNG")
    (folder / "images" / entry.split / f"{entry.sha256}{suffix}.png").write_bytes(png.tobytes())
    (folder / "labels" / entry.split / f"{entry.sha256}{suffix}.txt").write_text(lines)


def label_lines(boxes: Iterable[LabelledBox], classes: tuple[str, ...], width: int, height: int) -> str:
    """YOLO's label text: one line a box, `class centre_x centre_y width height`, each as a share of the image.

    Boxes are clipped to the image of `width` x `height` pixels; a box wholly outside is left out.

    Raises:
        TrainingError: a box has a class that is not among `classes`.
    """
    lines = []
    for labelled in boxes:
        if labelled.class_name not in classes:
            raise TrainingError(f"expected one of the classes {list(classes)}, but a box is {labelled.class_name!r}")
        box = labelled.box.clipped(width, height)
        if box is None:
            continue
        values = (
            (box.x + box.width / 2) / width,
            (box.y + box.height / 2) / height,
            box.width / width,
            box.height / height,
        )
        lines.append(" ".join([str(classes.index(labelled.class_name)), *(f"{value:.8f}" for value in values)]))
    return "".join(f"{line}\n" for line in lines)
