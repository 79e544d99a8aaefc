"""Find one image of a lineage: where its bytes are, and the Captures beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from components.stores.objects.s3 import parse_uri
from components.stores.raw_images.images import RawImages
from inspection.documents import Capture
from inspection.paths import parse_raw_key

_MAX_CAPTURES: Final = 50


@dataclass(frozen=True, slots=True)
class Seen:
    """What the raw bucket holds of an image.

    uri: where the bytes are, '' where the bucket does not have them. captures: the first fifty, sorted by time.
    """

    uri: str
    captures: tuple[Capture, ...]

    @property
    def releases(self) -> tuple[str, ...]:
        """The digests of the releases that judged the image, each once."""
        return tuple(dict.fromkeys(found.release_digest for found in self.captures if found.release_digest))

    def facts(self, places: Iterable[str]) -> dict[str, str]:
        """Return the facts in words. places: the addresses at which the image was looked for."""
        said = {"at": self.uri or ", ".join(places)}
        for number, capture in enumerate(self.captures, start=1):
            parts = [
                f"{capture.captured_at:%Y-%m-%d %H:%M:%S} UTC by {capture.device}, camera {capture.camera}: "
                f"{capture.reason}",
                f"judged {capture.verdict}" if capture.verdict else "",
                f"part {capture.part_id}" if capture.part_id else "",
                f"was {capture.original_name}" if capture.original_name else "",
            ]
            said[f"capture {number}"] = ", ".join(part for part in parts if part)
        return said


def look(raw: RawImages, sha256: str, places: Iterable[str]) -> Seen:
    """Return what the raw bucket holds of an image at some places (`s3://…`). Places of other images are ignored."""
    captures: dict[str, Capture] = {}
    found = ""
    for uri in places:
        key = parse_uri(uri)[1]
        parsed = parse_raw_key(key)
        if parsed is None or parsed.sha256 != sha256 or parsed.capture_id is not None:
            continue
        if not found and raw.has(key):
            found = uri
        for capture in raw.captures(raw.image([key])):
            captures.setdefault(capture.capture_id, capture)
    by_time = sorted(captures.values(), key=lambda capture: (capture.captured_at, capture.capture_id))
    return Seen(found, tuple(by_time[:_MAX_CAPTURES]))


def find_image(raw: RawImages, sha256: str) -> list[str]:
    """List the whole raw bucket, and return the addresses of an image that nothing names, as `s3://…`."""
    listing = raw.listing
    hits = listing.read(
        listing.spans(listing.devices()), lambda pages: [key for page in pages for key in page if sha256 in key]
    )
    parsed = ((key, parse_raw_key(key)) for keys in hits for key in keys)
    return [
        raw.image([key]).uri for key, known in parsed if known and known.sha256 == sha256 and known.capture_id is None
    ]
