"""The sources of images that no device sent: a folder, or a prefix of any S3."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar

from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import S3ObjectStore
from inspection.image import ImageError, image_format

MAX_FILE_BYTES: Final = 200_000_000
_WORKERS: Final = 8
_AHEAD: Final = 8 * _WORKERS
# Their content is checked all the same. One that is not an image is left out without a message.
_TEXTS: Final = frozenset({".csv", ".json", ".jsonl", ".manifest", ".md", ".names", ".txt", ".xml", ".yaml", ".yml"})

_BEGINS_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Item = TypeVar("Item")
Result = TypeVar("Result")


class ImageSourceError(ValueError):
    """A source of images cannot be read at all."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may be an image. name: its path below the source, with '/'; stamp: changes when its bytes do."""

    name: str
    size: int
    modified: datetime
    stamp: str


class ImageSource(Protocol):
    """A folder, or a prefix of S3."""

    def files(self) -> Iterable[SourceFile]:
        """Every file that may be an image, in the order of names."""

    def read(self, file: SourceFile) -> bytes:
        """The whole file.

        Raises:
            OSError: it cannot be read.
        """


class FolderSource:
    """A folder with its subfolders. Hidden files and plain text are left out."""

    def __init__(self, folder: Path, paths: Sequence[Path] | None = None) -> None:
        """paths: these files alone."""
        self.folder = folder
        self._paths = paths

    def files(self) -> list[SourceFile]:
        """By path.

        Raises:
            ImageSourceError: no such folder.
        """
        return [self.file(path) for path in (image_files(self.folder) if self._paths is None else self._paths)]

    def file(self, path: Path) -> SourceFile:
        """One file. Its size is -1 if it cannot be read."""
        name = path.relative_to(self.folder).as_posix()
        try:
            status = path.stat()
        except OSError:
            return SourceFile(name, -1, datetime.fromtimestamp(0, UTC), "")
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        return SourceFile(name, status.st_size, modified, f"{status.st_size}:{status.st_mtime_ns}")

    def read(self, file: SourceFile) -> bytes:
        """The whole file."""
        return (self.folder / file.name).read_bytes()


class S3Source:
    """All objects below a prefix."""

    def __init__(self, store: S3ObjectStore, bucket: str, prefix: str) -> None:
        """prefix: as in a key; a folder's ends with '/'."""
        self._store = store
        self.bucket = bucket
        self.prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"

    def files(self) -> Iterator[SourceFile]:
        """By key.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        for info in self._store.list(self.bucket, self.prefix):
            name = info.key.removeprefix(self.prefix)
            if not name or name.endswith("/") or _is_hidden(name):
                continue
            yield SourceFile(name, info.size, info.modified.astimezone(UTC), info.etag)

    def read(self, file: SourceFile) -> bytes:
        """The whole object."""
        return self._store.get(self.bucket, self.prefix + file.name)


def image_files(folder: Path) -> list[Path]:
    """The files that may be images, in order. Hidden files and plain text are left out.

    Raises:
        ImageSourceError: no such folder.
    """
    if not folder.is_dir():
        raise ImageSourceError(f"expected a folder of images, but {folder} is not a folder")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not _is_hidden(path.relative_to(folder).as_posix()) and not _is_text(path)
    )


def read_parts(file: Path) -> dict[str, str]:
    """`parts.csv` (columns image, part): image path -> physical part.

    Raises:
        ImageSourceError: it cannot be read, or columns are missing.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a byte order mark first
            reader = csv.DictReader(stream)
            if not {"image", "part"} <= set(reader.fieldnames or ()):
                raise ImageSourceError(f"expected the columns image and part in {file}, but got {reader.fieldnames}")
            return {
                _composed(row["image"]): text_of_cell(row["part"]) for row in reader if row["image"] and row["part"]
            }
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise ImageSourceError(f"cannot read {file}: expected CSV in UTF-8, but {e}") from e


def part_of(name: str, parts: Mapping[str, str]) -> str | None:
    """The part that an image shows, by its path (with or without a leading `images/`), or its file name.

    Names are compared in Unicode's composed form, because a Mac writes `é` as two characters.
    """
    name = _composed(name)
    return parts.get(name) or parts.get(name.removeprefix("images/")) or parts.get(name.rsplit("/", 1)[-1])


def cell_text(text: str) -> str:
    """The text of a cell in a table that people open: with an apostrophe first where it could be taken for a formula.

    `text_of_cell` takes the apostrophe away again.
    """
    return f"'{text}" if text[:1] in _BEGINS_FORMULA or text[:1] == "'" else text


def text_of_cell(cell: str) -> str:
    """The text that `cell_text` wrote."""
    return cell[1:] if cell[:1] == "'" and (cell[1:2] in _BEGINS_FORMULA or cell[1:2] == "'") else cell


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of each item, in the order of the items, by threads. At most a few items are under way at once."""
    return read_ahead(work, items, at_most=_AHEAD, threads=_WORKERS)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def is_named_as_text(name: str) -> bool:
    """Whether the name is that of a text file, such as a table, a note or a licence."""
    last = name.rsplit("/", 1)[-1]
    return last == "LICENSE" or Path(last).suffix.lower() in _TEXTS


def _is_text(path: Path) -> bool:
    if not is_named_as_text(path.name):
        return False
    try:
        with path.open("rb") as stream:
            image_format(stream.read(16))
    except (OSError, ImageError):
        return True
    return False
