"""Which file of a source each row of labels means. A pure rule on names.

A row names its image by a path that is seldom the path here: `s3://theirs/2021/bad/x.jpg` means `images/bad/x.jpg`.
The file with the longest common end is taken. What the row's path has before that end are its *dropped folders*. They
must be the same for all rows: where `day1/0001.jpg` and `day2/0001.jpg` drop different folders, the file of one day
would be taken for that of the other. Two rows that name their image differently never get the same file.

Names are compared in Unicode's composed form, because a Mac writes `é` as two characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from components.exchange.rows import RowError

_MOST_NAMED: Final = 5

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoFile:
    """Why a row has no file: a fixed word for counting, and a message."""

    reason: str
    message: str

    def error(self) -> RowError:
        """The error that sets the row aside."""
        return RowError(self.reason, self.message)


@dataclass(frozen=True, slots=True)
class _Near:
    """The file with the longest common end. dropped: the row's folders before that end."""

    file: str
    dropped: Path


def match(images: Iterable[str], files: Iterable[str]) -> dict[str, str | NoFile]:
    """The file that each image name of a set of labels means, or why there is none.

    images: as the rows say them; files: paths below the source, with '/'.
    """
    by_name: dict[str, list[tuple[Path, str]]] = {}
    for file in files:
        path = _parts(file)
        by_name.setdefault(path[-1], []).append((path, file))
        stem = path[-1].rpartition(".")[0]
        if stem and "." not in stem:  # some tools leave the extension out
            by_name.setdefault(stem, []).append(((*path[:-1], stem), file))
    found = {image: _nearest(image, by_name) for image in dict.fromkeys(images)}
    near = {image: one for image, one in found.items() if isinstance(one, _Near)}
    common = _common_drop([one.dropped for one in near.values()])
    said: dict[str, dict[Path, str]] = {}
    for image, one in near.items():
        if one.dropped == common:
            said.setdefault(one.file, {})[_parts(unquote(image))] = image
    return {image: _decided(one, common, said) if isinstance(one, _Near) else one for image, one in found.items()}


def _decided(one: _Near, common: Path | None, said: Mapping[str, Mapping[Path, str]]) -> str | NoFile:
    if one.dropped != common:
        return NoFile(
            "no-image",
            f"expected the folders of the row among the images, but only {one.file!r} has this name, and other rows "
            "drop other folders; give the folder that holds the folders of the rows: --images",
        )
    others = sorted(said[one.file].values())
    if len(others) > 1:
        return NoFile(
            "ambiguous-image",
            f"expected one row for {one.file!r}, but several rows name it: {', '.join(others[:_MOST_NAMED])}",
        )
    return one.file


def _common_drop(dropped: Sequence[Path]) -> Path | None:
    """What all rows drop. Rows that drop more lack their folder here; None where no drop is the beginning of all."""
    shortest = min(dropped, key=len, default=None)
    if shortest is None or any(one[: len(shortest)] != shortest for one in dropped):
        return None
    return shortest


def _nearest(image: str, by_name: Mapping[str, Sequence[tuple[Path, str]]]) -> _Near | NoFile:
    for name in dict.fromkeys((image, unquote(image))):
        wanted = _parts(name)
        candidates = by_name.get(wanted[-1], ()) if wanted else ()
        if not candidates:
            continue
        alike = [(_common_end(wanted, path), file) for path, file in candidates]
        most = max(length for length, _ in alike)
        best = [file for length, file in alike if length == most]
        if len(best) > 1:
            return NoFile("ambiguous-image", f"several files could be meant: {', '.join(best[:_MOST_NAMED])}")
        return _Near(best[0], wanted[: len(wanted) - most])
    return NoFile("no-image", f"expected a file named {image.rsplit('/', 1)[-1]!r} among the images")


def _parts(path: str) -> Path:
    parts = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    return tuple(part for part in parts if part and part != ".")


def _common_end(a: Path, b: Path) -> int:
    length = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        length += 1
    return length
