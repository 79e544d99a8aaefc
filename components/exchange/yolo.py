"""YOLO's folder, as Ultralytics reads it (https://docs.ultralytics.com/datasets/detect/).

`data.yaml` names the classes. Beside each `images/…/x.jpg` is `labels/…/x.txt` with one line for each box: class,
centre x, centre y, width, height, as shares of the image. An empty file means that the image has nothing to mark. No
file means that nobody labelled the image. `yolo_names` reads the classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

import yaml

from components.exchange.rows import ClassNames, RowError, SourceRow, SourceStatus, Unit
from components.exchange.selection import Selected
from components.exchange.yolo_names import CLASSES_FILE, DATA_FILE, Described, class_number, describe
from components.stores.labels.box_rule import Drawn
from components.stores.raw_images.image_source import image_files
from components.stores.raw_images.set_aside import SetAside

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

    Two images with one label file (`a.jpg` and `a.png`) are both set aside, and so is a label file without an image.

    Raises:
        ExchangeError: the files that name the classes cannot be read or contradict each other, or none names the
            classes of a use case that has several.
        ImageSourceError: no such folder.
    """
    images = [path.relative_to(folder).as_posix() for path in image_files(folder)]
    described = describe(folder)
    if described.names is None:
        names.expect_names(f"the numbers in {folder} (no {DATA_FILE}, {CLASSES_FILE} or other file there names them)")
    shared = Counter(label_path(image) for image in images)
    for image in images:
        file = label_path(image)
        try:
            if not (folder / file).is_file():
                raise RowError("no-labels", f"expected its labels in {file}; an empty file says: nothing there")
            if shared[file] > 1:
                raise RowError("ambiguous-labels", f"{shared[file]} images have their labels in {file}; rename them")
            yield _row(image, folder / file, described, names)
        except RowError as e:
            yield SetAside(image, e.reason, str(e))
    for file in _label_files(folder):
        if file not in shared:
            yield SetAside(file, "no-image", "expected an image for this label file, but there is none")


def _label_files(folder: Path) -> list[str]:
    """The text files below folders named `labels`, which Ultralytics takes for label files."""
    found = (path.relative_to(folder) for path in folder.rglob("*.txt"))
    return sorted(path.as_posix() for path in found if "labels" in path.parts[:-1] and path.name != CLASSES_FILE)


def _row(image: str, file: Path, described: Described, names: ClassNames) -> SourceRow:
    try:
        status = file.stat()
        if status.st_size > _MAX_LABEL_BYTES:
            raise RowError("labels", f"expected labels of at most {_MAX_LABEL_BYTES} bytes, but got {status.st_size}")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise RowError("labels", f"cannot read {file.name}: {e}") from e
    if "\0" in text:
        raise RowError("labels", f"expected lines of numbers in {file.name}, but got zero bytes: the file is damaged")
    return SourceRow(
        line=None,
        image=image,
        boxes=tuple(_drawn(line.split(), described, names) for line in text.splitlines() if line.strip()),
        status=SourceStatus.UNSAID,
        at=datetime.fromtimestamp(status.st_mtime, UTC),
        at_said=False,
        unit=Unit.SHARES,
    )


def _drawn(words: Sequence[str], described: Described, names: ClassNames) -> Drawn:
    """One line: a class, then a box, a box and a score, a box and key points, or the corners of a polygon."""
    index = class_number(words[0])
    name = names.find(index, "" if described.names is None and not names.is_single else described.name_of(index))
    values = [_number(word) for word in words[1:]]
    if len(values) in (4, 5) or (described.has_key_points and len(values) > 5):
        x, y, width, height = values[:4]
        return Drawn(name, x, y, width, height)
    corners = [value for value in values if value is not None]
    if len(corners) < len(values) or len(corners) < 6 or len(corners) % 2:
        return Drawn(None, is_rectangle=False)
    xs, ys = corners[::2], corners[1::2]
    width, height = max(xs) - min(xs), max(ys) - min(ys)
    return Drawn(name, min(xs) + width / 2, min(ys) + height / 2, width, height, is_outline=True)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
