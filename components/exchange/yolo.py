"""YOLO's folder, as Ultralytics reads it (https://docs.ultralytics.com/datasets/detect/).

`data.yaml` names the classes. Beside each `images/…/x.jpg` is `labels/…/x.txt` with one line for each box: class,
centre x, centre y, width, height, as shares of the image. An empty file means that the image has nothing to mark. No
file means that nobody labelled the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from components.exchange.rows import ClassNames, ExchangeError, RowError, SourceRow, SourceStatus, Unit
from components.exchange.selection import Selected
from components.stores.labels.box_rule import Drawn
from components.stores.raw_images.image_source import image_files
from components.stores.raw_images.set_aside import SetAside

DATA_FILE: Final = "data.yaml"
CLASSES_FILE: Final = "classes.txt"
_MAX_LABEL_BYTES: Final = 10_000_000


def label_text(image: Selected, classes: Sequence[str]) -> str:
    """The label file of an image, with enough digits to restore the pixels."""
    lines = []
    for labelled in image.boxes:
        box = labelled.box
        shares = (
            (box.x + box.width / 2) / image.width,
            (box.y + box.height / 2) / image.height,
            box.width / image.width,
            box.height / image.height,
        )
        lines.append(
            f"{classes.index(labelled.class_name)} {' '.join(f'{min(share, 1.0):.12g}' for share in shares)}\n"
        )
    return "".join(lines)


def label_path(image: str) -> str:
    """Where Ultralytics looks for labels of an image: the last `images` becomes `labels`, the extension `.txt`."""
    parts = list(PurePosixPath(image).parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return str(PurePosixPath(*parts).with_suffix(".txt"))


def data_text(classes: Sequence[str], splits: Sequence[str]) -> str:
    """`data.yaml`. Labels without a split are used for training and for validation, as Ultralytics requires both."""
    places = {split: f"images/{split}" for split in splits if split} or {"train": "images", "val": "images"}
    return yaml.safe_dump({**places, "names": dict(enumerate(classes))}, sort_keys=False, allow_unicode=True)


def read_yolo(folder: Path, names: ClassNames) -> Iterator[SourceRow | SetAside]:
    """A row for each image with a label file; an image without one is set aside as `no-labels`.

    Raises:
        ExchangeError: `data.yaml` or `classes.txt` cannot be read.
        ImageSourceError: no such folder.
    """
    known = class_names(folder)
    for path in image_files(folder):
        image = path.relative_to(folder).as_posix()
        file = folder / label_path(image)
        try:
            if not file.is_file():
                raise RowError(
                    "no-labels", f"expected its labels in {label_path(image)}; an empty file says: nothing there"
                )
            yield _row(image, file, known, names)
        except RowError as e:
            yield SetAside(image, e.reason, str(e))


def class_names(folder: Path) -> dict[int, str] | None:
    """The classes that the folder names, by number; None if it names none.

    Raises:
        ExchangeError: there is a file, but it does not name them.
    """
    data_file, classes_file = folder / DATA_FILE, folder / CLASSES_FILE
    try:
        if data_file.is_file():
            return _from_yaml(yaml.safe_load(data_file.read_text(encoding="utf-8")), data_file)
        if classes_file.is_file():
            return dict(enumerate(classes_file.read_text(encoding="utf-8").split("\n")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as e:
        raise ExchangeError(f"cannot read the classes of {folder}: {e}") from e
    return None


def _from_yaml(value: Any, file: Path) -> dict[int, str]:
    names = value.get("names") if isinstance(value, Mapping) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        raise ExchangeError(f"expected names in {file}, a list or numbers with names, but got {str(names)[:60]!r}")
    return {key: str(name) for key, name in names.items()}


def _row(image: str, file: Path, known: Mapping[int, str] | None, names: ClassNames) -> SourceRow:
    try:
        status = file.stat()
        if status.st_size > _MAX_LABEL_BYTES:
            raise RowError("labels", f"expected labels of at most {_MAX_LABEL_BYTES} bytes, but got {status.st_size}")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise RowError("labels", f"cannot read {file.name}: {e}") from e
    return SourceRow(
        line=None,
        image=image,
        boxes=tuple(_drawn(line.split(), known, names) for line in text.splitlines() if line.strip()),
        status=SourceStatus.UNSAID,
        at=datetime.fromtimestamp(status.st_mtime, UTC),
        at_said=False,
        unit=Unit.SHARES,
    )


def _drawn(words: Sequence[str], known: Mapping[int, str] | None, names: ClassNames) -> Drawn:
    if len(words) != 5:  # a polygon, a turned box, key points
        return Drawn(None, is_rectangle=False)
    index = int(words[0]) if words[0].isascii() and words[0].isdigit() else -1
    name = names.find(index, None if known is None else known.get(index, ""))
    x, y, width, height = (_number(word) for word in words[1:])
    return Drawn(name, x, y, width, height)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
