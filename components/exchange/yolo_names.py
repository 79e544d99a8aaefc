"""What a YOLO folder says about its classes.

Ultralytics reads `data.yaml`, but the file may have any name. LabelImg and Label Studio write `classes.txt`, beside the
images or among the labels, and Darknet writes `obj.names`. Files of a folder that name other classes contradict each
other, and the folder is refused: with the wrong one, every class would silently be another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from components.exchange.rows import ExchangeError

DATA_FILE: Final = "data.yaml"
CLASSES_FILE: Final = "classes.txt"
_MAX_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Described:
    """names: number -> class; None if no file names them. has_key_points: whether key points follow each box."""

    names: Mapping[int, str] | None = None
    has_key_points: bool = False

    def name_of(self, index: int | None) -> str | None:
        """The name of a number: '' if it has none; None if no file names classes."""
        if self.names is None:
            return None
        return "" if index is None else self.names.get(index, "")


def describe(folder: Path) -> Described:
    """Read the files that name the classes.

    Raises:
        ExchangeError: a file cannot be read, `data.yaml` names no class, or two files name different classes.
    """
    found: dict[Path, Mapping[int, str]] = {}
    key_points = False
    for file in sorted({*folder.glob("*.yaml"), *folder.glob("*.yml")}):
        value = _yaml(file)
        if file.name == DATA_FILE or (isinstance(value, Mapping) and "names" in value):
            found[file] = _names(value, file)
            key_points = key_points or "kpt_shape" in value
    for file in sorted({*(folder / place / CLASSES_FILE for place in (".", "labels")), *folder.glob("*.names")}):
        if file.is_file():
            lines = [line.strip() for line in _text(file).splitlines()]
            found[file] = {number: name for number, name in enumerate(lines) if name}
    first = next(iter(found), None)
    for file, names in found.items():
        if first is not None and names != found[first]:
            raise ExchangeError(
                f"expected one set of classes in {folder}, but {first.name} names {list(found[first].values())} and "
                f"{file.name} names {list(names.values())}; remove the one that is wrong"
            )
    return Described(None if first is None else found[first], key_points)


def class_number(text: str) -> int | None:
    """A number of a class, also as `0.0` or `1.0e+00`, as numpy writes it; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() and 0 <= value < 1_000_000 else None


def _names(value: Any, file: Path) -> dict[int, str]:
    names = value.get("names") if isinstance(value, Mapping) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    numbers = {key: class_number(str(key)) for key in names} if isinstance(names, Mapping) else {}
    if not isinstance(names, Mapping) or None in numbers.values() or len(set(numbers.values())) < len(numbers):
        raise ExchangeError(f"expected names in {file}, a list or numbers with names, but got {str(names)[:60]!r}")
    return {int(str(numbers[key])): str(name) for key, name in names.items()}


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(_text(file))
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise ExchangeError(f"cannot read the classes of {file}: {e}") from e


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ExchangeError(f"expected at most {_MAX_BYTES} bytes in {file}; it should name classes")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise ExchangeError(f"cannot read the classes of {file}: {e}") from e
