"""What the verification asks the raw bucket about an image: whether people can be shown it, and which part it shows."""

from __future__ import annotations

from itertools import islice
from typing import Final, Protocol

from components.stores.objects.s3 import parse_uri
from components.stores.raw_images.images import RawImage, RawImages
from components.stores.raw_images.renditions import rendition_key, shown_uri

MAX_CAPTURES: Final = 16
"""How many Captures of one image are read: a stolen device may send any number."""


class ImageFacts(Protocol):
    """The part of the raw bucket that the verification uses."""

    def can_be_shown(self, uri: str, sha256: str) -> bool:
        """Whether a browser shows the image, or there is a rendition of it."""

    def part(self, uri: str) -> str | None:
        """The part that was told last for the image; None if none was told."""


class RawFacts:
    """`ImageFacts` from the raw bucket. A rendition that was found is not asked for again."""

    def __init__(self, raw: RawImages) -> None:
        self._raw = raw
        self._rendered: set[str] = set()

    def can_be_shown(self, uri: str, sha256: str) -> bool:
        """See `ImageFacts`.

        Raises:
            ObjectStoreError: the bucket could not be read.
        """
        if shown_uri(uri) == uri or sha256 in self._rendered:
            return True
        if self._raw.has(rendition_key(sha256)):
            self._rendered.add(sha256)
            return True
        return False

    def part(self, uri: str) -> str | None:
        """See `ImageFacts`.

        Raises:
            ObjectStoreError: the bucket could not be read.
        """
        return told_part(self._raw, self._raw.image([parse_uri(uri)[1]]))


def told_part(raw: RawImages, image: RawImage) -> str | None:
    """The part that was told last. Whoever corrects the part of an image stores another Capture."""
    parts = [capture.part_id for capture in islice(raw.captures(image), MAX_CAPTURES) if capture.part_id]
    return parts[-1] if parts else None
