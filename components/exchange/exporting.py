"""Export approved labels and their images as the files of another tool. An export is complete or not there at all."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from components.exchange.coco import to_coco
from components.exchange.rows import ExchangeError
from components.exchange.selection import Selected
from components.exchange.yolo import data_text, label_path, label_text
from components.exchange.yolo_names import CLASSES_FILE, DATA_FILE
from components.stores.raw_images.image_source import cell_text, in_parallel
from inspection.image import EXTENSIONS, sha256_of

Fetch = Callable[[str, str], bytes]
"""`fetch(uri, sha256)`: the bytes of an image."""

ANNOTATIONS: Final = "annotations.json"
PARTS: Final = "parts.csv"


def export_coco(
    folder: Path,
    images: Sequence[Selected],
    classes: Sequence[str],
    use_case: str,
    fetch: Fetch | None,
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """`annotations.json`, or one `<split>.json` a split, and `images/`, unless `fetch` is None.

    Raises:
        ExchangeError: the folder exists already, an image has other bytes, or a box has an unknown class.
    """
    _check(images, classes)
    with _new_folder(folder) as made:
        names = {image.sha256: Path(_file_name(image)).name for image in images}
        for split in _splits(images):
            chosen = [image for image in images if image.split == split]
            file = made / (f"{split}.json" if split else ANNOTATIONS)
            file.write_bytes(to_coco(chosen, classes, use_case, names))
        _write_images(made, images, {sha256: f"images/{name}" for sha256, name in names.items()}, fetch, on_image)


def export_yolo(
    folder: Path,
    images: Sequence[Selected],
    classes: Sequence[str],
    fetch: Fetch | None,
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """`data.yaml`, `classes.txt`, `labels/`, `parts.csv`, and `images/`, unless `fetch` is None.

    Raises:
        ExchangeError: see `export_coco`.
    """
    _check(images, classes)
    with _new_folder(folder) as made:
        names = {image.sha256: _file_name(image) for image in images}
        for image in images:
            file = made / label_path(names[image.sha256])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(label_text(image, classes), encoding="utf-8")
        (made / DATA_FILE).write_text(data_text(classes, _splits(images)), encoding="utf-8")
        (made / CLASSES_FILE).write_text("\n".join(classes), encoding="utf-8")
        with (made / PARTS).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("image", "part"))
            writer.writerows((names[i.sha256], cell_text(i.group)) for i in images if i.group != i.sha256)
        _write_images(made, images, names, fetch, on_image)


def export_parquet(file: Path, rows: pa.Table) -> None:
    """Write rows of the label store to a Parquet file. rows: in the store's schema.

    Raises:
        ExchangeError: the file exists already.
    """
    if file.exists():
        raise ExchangeError(f"expected a new file, but {file} is there already; remove it or name another")
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    try:
        pq.write_table(rows, temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _check(images: Sequence[Selected], classes: Sequence[str]) -> None:
    if not images:
        raise ExchangeError("expected approved labels to export, but there are none")
    unknown = sorted({box.class_name for image in images for box in image.boxes} - set(classes))
    if unknown:
        raise ExchangeError(f"expected boxes of the classes {list(classes)}, but there are boxes of {unknown}")


def _splits(images: Sequence[Selected]) -> list[str]:
    order = {"train": 0, "val": 1, "test": 2}
    return sorted({image.split for image in images}, key=lambda split: (order.get(split, 3), split))


def _file_name(image: Selected) -> str:
    split = f"{image.split}/" if image.split else ""
    return f"images/{split}{image.sha256}.{_extension(image.uri)}"


def _extension(uri: str) -> str:
    """The extension of a raw image's key, which follows from the image's content."""
    extension = uri.rsplit(".", 1)[-1]
    if extension not in EXTENSIONS.values():
        raise ExchangeError(
            f"expected the key of a raw image, which ends in {list(EXTENSIONS.values())}, but got {uri}"
        )
    return extension


def _write_images(
    folder: Path, images: Sequence[Selected], names: dict[str, str], fetch: Fetch | None, on_image: Callable[[], None]
) -> None:
    if fetch is None:
        return

    def one(image: Selected) -> None:
        data = fetch(image.uri, image.sha256)
        if sha256_of(data) != image.sha256:
            raise ExchangeError(f"{image.uri}: expected sha256 {image.sha256}, but the bytes have {sha256_of(data)}")
        file = folder / names[image.sha256]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        on_image()

    for _ in in_parallel(one, images):
        pass


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder that the block fills under a temporary name; it gets its name at the end."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExchangeError(f"expected a new or empty folder, but {folder} holds something; remove it or name another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    try:
        yield made
        made.replace(folder)  # also replaces an empty folder
    finally:
        shutil.rmtree(made, ignore_errors=True)
