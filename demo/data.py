"""The photographs of the demo: generated parts, or a folder of real images with their labels.

The demo imports the first set. The rest arrives through the device's camera. Only the stand-ins for people know the
true boxes. A pipeline gets them through Label Studio only.
"""

from __future__ import annotations

import ast
import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from components.dataset.split import position, split_of
from components.exchange.box_table import FILE as BOXES_FILE
from components.exchange.box_table import read_box_table
from components.exchange.rows import ClassNames, ExchangeError
from components.generated_parts.photographs import LineGenerator
from components.ingest.folder import image_files, read_parts
from components.stores.datasets.manifest import SplitName
from components.stores.labels.box_rule import Drawn, apply_rule
from components.stores.raw_images.set_aside import SetAside
from components.use_case import UseCase
from inspection.geometry import Box, LabelledBox
from inspection.image import ImageError, decode_image, sha256_of

SEED: Final = 7
_WIDEST: Final = 1 << 20


class DemoDataError(ValueError):
    """The demo cannot use the folder."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph: its name, its bytes, and the part that it shows."""

    name: str
    data: bytes
    part_id: str


@dataclass(frozen=True, slots=True)
class DemoData:
    """Both sets. truth: sha256 -> true boxes. An image that is not in `truth` has no known label."""

    first: tuple[Photograph, ...]
    device: tuple[Photograph, ...]
    truth: Mapping[str, Sequence[LabelledBox]]
    unlabelled: int
    said: str


def generated(first_parts: int, device_parts: int) -> DemoData:
    """Return photographs of generated parts. All have true boxes."""
    generator = LineGenerator(seed=SEED, defect_rate=0.6, photographs_per_part=2)
    truth: dict[str, Sequence[LabelledBox]] = {}

    def frames(parts: range) -> tuple[Photograph, ...]:
        found = []
        for photograph in generator.photographs(parts):
            truth[sha256_of(photograph.jpeg)] = photograph.boxes
            found.append(Photograph(photograph.name, photograph.jpeg, photograph.part_id))
        return tuple(found)

    first = frames(range(first_parts))
    device = frames(range(first_parts, first_parts + device_parts))
    said = f"generated: {first_parts} parts ({len(first)} photographs), then {device_parts} parts ({len(device)})"
    return DemoData(first, device, truth, 0, said)


def from_folder(folder: Path, use_case: UseCase, device_share: float = 0.2) -> DemoData:
    """Read real images with their labels and the optional `parts.csv` (image, part).

    The labels are `labels.csv` (source_ref, annotations, status), or `boxes.csv` (image, class, x1, y1, x2, y2). With
    `boxes.csv`, an image without a line shows no defect, and without `parts.csv` each file name is a part.

    The share `device_share` of all parts arrives through the device. The other parts, which include those of the test
    split, are the first set.

    Raises:
        DemoDataError: there are no labels, or they cannot be parsed.
    """
    labels_file, boxes_file = folder / "labels.csv", folder / BOXES_FILE
    if not labels_file.is_file() and not boxes_file.is_file():
        raise DemoDataError(f"expected {labels_file} or {boxes_file} beside the images, but there is neither")
    parts = read_parts(folder / "parts.csv") if (folder / "parts.csv").is_file() else {}
    unit_of = use_case.grouping.unit_of
    drawn: dict[str, tuple[Drawn, ...]] | None = None
    by_tail: dict[str, list[LabelledBox]] = {}
    if labels_file.is_file():
        by_tail = read_labels(labels_file, use_case.classes)
    else:
        labels_file = boxes_file
        drawn = read_boxes(boxes_file, use_case.classes)
    truth: dict[str, Sequence[LabelledBox]] = {}
    frames: list[Photograph] = []
    unusable = unlabelled = 0
    seen: set[str] = set()
    files = image_files(folder)
    for path in files:
        data = path.read_bytes()
        sha256 = sha256_of(data)
        relative = path.relative_to(folder).as_posix()
        try:
            height, width = decode_image(data).shape[:2]
        except ImageError:
            unusable += 1
            continue
        if sha256 in seen:
            continue
        seen.add(sha256)
        tail = "/".join(relative.split("/")[-2:])
        alone = sha256 if drawn is None else path.stem
        part = parts.get(relative.removeprefix("images/")) or parts.get(relative) or parts.get(path.name) or alone
        if drawn is not None:
            truth[sha256] = apply_rule(drawn.get(path.name, ()), use_case.classes, width, height).boxes
        elif tail in by_tail:
            truth[sha256] = by_tail[tail]
        elif path.name in by_tail:
            truth[sha256] = by_tail[path.name]
        else:
            unlabelled += 1
        frames.append(Photograph(tail.replace("/", "-"), data, part))
    lost = sorted((drawn or {}).keys() - {path.name for path in files})
    if lost:
        raise DemoDataError(f"expected an image for each line of {labels_file}, but there is none named {lost[0]}")
    if not truth:
        raise DemoDataError(f"no row of {labels_file} names an image below {folder}; expected paths like bad/name.jpg")
    labelled = {frame.part_id for frame in frames if sha256_of(frame.data) in truth}
    # What is split together arrives together.
    units = sorted({unit_of(part) for part in labelled}, key=lambda unit: position(unit, use_case.split.seed + 1))
    movable = [unit for unit in units if split_of(unit, use_case.split) is not SplitName.TEST]
    arriving = set(movable[: round(device_share * len(units))])
    first = tuple(frame for frame in frames if unit_of(frame.part_id) not in arriving)
    device = tuple(frame for frame in frames if unit_of(frame.part_id) in arriving)
    said = (
        f"{folder}: {len(frames)} images of {len(labelled)} parts; {len(first)} first, "
        f"{len(device)} through the device; "
        f"{unlabelled} without a label stay open" + (f"; {unusable} are no usable image" if unusable else "")
    )
    return DemoData(first, device, truth, unlabelled, said)


def read_labels(file: Path, classes: Sequence[str]) -> dict[str, list[LabelledBox]]:
    """Read `labels.csv`. Returns boxes by the last two components of the image's path, and also by its file name.

    Raises:
        DemoDataError: a column is missing, or a row cannot be parsed. The message names the line.
    """
    labels: dict[str, list[LabelledBox]] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = {"source_ref", "annotations"} - set(reader.fieldnames or ())
        if missing:
            raise DemoDataError(f"{file}: expected the columns source_ref and annotations, missing {sorted(missing)}")
        for number, row in enumerate(reader, start=2):
            try:
                boxes = [
                    LabelledBox(
                        classes[int(item["class_id"])],
                        Box(float(item["left"]), float(item["top"]), float(item["width"]), float(item["height"])),
                    )
                    for item in ast.literal_eval(row["annotations"])
                ]
            except (ValueError, SyntaxError, KeyError, IndexError, TypeError) as e:
                raise DemoDataError(f"{file}, line {number}: expected a list of boxes, but {e!r}") from e
            parts = row["source_ref"].rstrip("/").split("/")
            labels["/".join(parts[-2:])] = boxes
            labels.setdefault(parts[-1], boxes)
    return labels


def read_boxes(file: Path, classes: Sequence[str]) -> dict[str, tuple[Drawn, ...]]:
    """Read `boxes.csv`. Returns the boxes by the file name of the image.

    Raises:
        DemoDataError: a column is missing, or a line cannot be read.
    """
    found = {}
    with file.open(newline="", encoding="utf-8-sig") as stream:
        try:
            rows = list(read_box_table(stream, ClassNames(tuple(classes), {}), datetime.now(UTC)))
        except (ExchangeError, UnicodeDecodeError) as e:
            raise DemoDataError(f"{file}: {e}") from e
    for row in rows:
        if isinstance(row, SetAside):
            raise DemoDataError(f"{file}, line {row.line}: {row.message}")
        bad = apply_rule(row.boxes, classes, _WIDEST, _WIDEST).tally
        if bad.left_out:
            wanted = ", ".join(classes)
            raise DemoDataError(f"{file}: expected boxes of {wanted}, but got {bad.counts()} for {row.image}")
        found[row.image.rsplit("/", 1)[-1]] = row.boxes
    return found


def digest_of(data: DemoData) -> str:
    """Return one digest of all photographs, so that an interrupted demo continues with the same ones only."""
    joined = ",".join(sha256_of(frame.data) for frame in (*data.first, *data.device))
    return hashlib.sha256(joined.encode()).hexdigest()
