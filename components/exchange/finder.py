"""Find the bytes of an image by the name that a source of labels gives it."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from components.exchange.matching import NoFile, match
from components.exchange.rows import ExchangeError, RowError
from components.stores.objects.s3 import AccessDenied, ObjectNotFound, S3ObjectStore, parse_uri
from components.stores.raw_images.image_source import MAX_FILE_BYTES, ImageSource


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image of the source. name: its path there."""

    name: str
    data: bytes
    modified: datetime


class Finder(Protocol):
    """Finds the images of rows. Safe to share between threads."""

    def of_rows(self, images: Iterable[str]) -> Finder:
        """A finder for the rows that name these images: what one row means may depend on the others."""

    def find(self, image: str) -> FoundImage:
        """The bytes of the image that a row names.

        Raises:
            RowError: there is no such image, several files fit, several rows name the file, or it is too large.
        """


class InSource:
    """Finds images in a folder or below a prefix, by the rule of `matching`."""

    def __init__(self, source: ImageSource) -> None:
        """Lists the source once.

        Raises:
            ImageSourceError, ObjectStoreError: it cannot be listed.
        """
        self._source = source
        self._files = {file.name: file for file in source.files()}
        self._known: dict[str, str | NoFile] = {}
        if not self._files:
            raise ExchangeError("expected images to take the labels' images from, but there is no file there")

    def of_rows(self, images: Iterable[str]) -> InSource:
        """See `Finder`."""
        prepared = copy(self)
        prepared._known = match(images, self._files)
        return prepared

    def find(self, image: str) -> FoundImage:
        """See `Finder`. Without `of_rows`, as if this row were the only one."""
        name = self._known[image] if image in self._known else match([image], self._files)[image]
        if isinstance(name, NoFile):
            raise name.error()
        file = self._files[name]
        if file.size > MAX_FILE_BYTES:
            raise RowError("too-large", f"expected at most {MAX_FILE_BYTES} bytes, got {file.size}")
        try:
            return FoundImage(file.name, self._source.read(file), file.modified)
        except (OSError, ObjectNotFound, AccessDenied) as e:
            raise RowError("unreadable", str(e)) from e


class ByAddress:
    """Finds images in S3, at the address that the row names."""

    def __init__(self, store: S3ObjectStore) -> None:
        self._store = store

    def of_rows(self, images: Iterable[str]) -> ByAddress:
        """See `Finder`: an address means the same whatever other rows say."""
        return self

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
