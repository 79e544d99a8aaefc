"""Find the bytes of an image by the name that a source of labels gives it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import unquote

from components.exchange.rows import ExchangeError, RowError
from components.stores.objects.s3 import AccessDenied, ObjectNotFound, S3ObjectStore, parse_uri
from components.stores.raw_images.image_source import MAX_FILE_BYTES, ImageSource, SourceFile


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image of the source. name: its path there."""

    name: str
    data: bytes
    modified: datetime


class Finder(Protocol):
    """Finds the images of rows. Safe to share between threads."""

    def find(self, image: str) -> FoundImage:
        """The bytes of the image that a row names.

        Raises:
            RowError: there is no such image, several files fit, or it is too large.
        """


class InSource:
    """Finds images in a folder or below a prefix: the file whose path has the longest common end with the row's.

    `s3://bucket/2021/bad/x.jpg` finds `images/bad/x.jpg` rather than `images/good/x.jpg`, and finds `x.jpg` if that is
    the only file of this name.
    """

    def __init__(self, source: ImageSource) -> None:
        """Lists the source once.

        Raises:
            ImageSourceError, ObjectStoreError: it cannot be listed.
        """
        self._source = source
        self._by_name: dict[str, list[SourceFile]] = {}
        for file in source.files():
            self._by_name.setdefault(file.name.rsplit("/", 1)[-1], []).append(file)
        if not self._by_name:
            raise ExchangeError("expected images to take the labels' images from, but there is no file there")

    def find(self, image: str) -> FoundImage:
        """See `Finder`."""
        file = self._file(image)
        if file is None and unquote(image) != image:
            file = self._file(unquote(image))
        if file is None:
            raise RowError("no-image", f"expected a file named {image.rsplit('/', 1)[-1]!r} among the images")
        if file.size > MAX_FILE_BYTES:
            raise RowError("too-large", f"expected at most {MAX_FILE_BYTES} bytes, got {file.size}")
        try:
            return FoundImage(file.name, self._source.read(file), file.modified)
        except (OSError, ObjectNotFound) as e:
            raise RowError("unreadable", str(e)) from e

    def _file(self, image: str) -> SourceFile | None:
        wanted = _parts(image)
        candidates = self._by_name.get(wanted[-1], []) if wanted else []
        if not candidates:
            return None
        alike = [(_common_tail(wanted, _parts(file.name)), file) for file in candidates]
        most = max(length for length, _ in alike)
        best = [file for length, file in alike if length == most]
        if len(best) > 1:
            raise RowError(
                "ambiguous-image", f"several files could be meant: {', '.join(file.name for file in best[:5])}"
            )
        return best[0]


class ByAddress:
    """Finds images in S3, at the address that the row names."""

    def __init__(self, store: S3ObjectStore) -> None:
        self._store = store

    def find(self, image: str) -> FoundImage:
        """See `Finder`."""
        try:
            bucket, key = parse_uri(image)
        except ValueError as e:
            raise RowError("no-image", f"{e}; give the folder or prefix with the images: --images") from e
        try:
            info = self._store.head(bucket, key)
            if info.size > MAX_FILE_BYTES:
                raise RowError("too-large", f"expected at most {MAX_FILE_BYTES} bytes, got {info.size}")
            return FoundImage(key, self._store.get(bucket, key), info.modified.astimezone(UTC))
        except (ObjectNotFound, AccessDenied) as e:
            raise RowError("no-image", f"{e}; or give the folder or prefix with the images: --images") from e


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part]


def _common_tail(a: Iterable[str], b: Iterable[str]) -> int:
    length = 0
    for one, other in zip(reversed(list(a)), reversed(list(b)), strict=False):
        if one != other:
            break
        length += 1
    return length
