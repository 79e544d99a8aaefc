"""Where an image comes from: its camera, and why it was captured. Captures say so; its key names only the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from components.stores.datasets.manifest import ManifestImage
from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import S3ObjectStore, parse_uri
from components.stores.raw_images.images import RawImage, RawImages
from inspection.paths import parse_raw_key

_THREADS: Final = 8
_AHEAD: Final = 256  # images whose Captures are being read


@dataclass(frozen=True, slots=True)
class Origin:
    """camera: `site/device camera`. reasons: all reasons for which the image was captured, in alphabetical order."""

    camera: str
    reasons: tuple[str, ...] = ()


def origins_of(store: S3ObjectStore, entries: Sequence[ManifestImage]) -> dict[str, Origin]:
    """sha256 -> origin, for each image that has a readable Capture beside it in the store."""

    def one(entry: ManifestImage) -> Origin | None:
        bucket, key = parse_uri(entry.uri)
        parsed = parse_raw_key(key)
        if parsed is None:
            return None
        beside = tuple(
            info.key
            for info in store.list(bucket, f"{key.rpartition('.')[0]}.")
            if (other := parse_raw_key(info.key)) is not None and other.capture_id is not None
        )
        image = RawImage(entry.sha256, entry.uri, parsed.device, parsed.day, beside)
        captures = list(RawImages(store, bucket).captures(image))
        if not captures:
            return None
        camera = min(capture.camera for capture in captures)
        reasons = tuple(sorted({str(capture.reason) for capture in captures}))
        return Origin(f"{parsed.site}/{parsed.device} {camera}", reasons)

    found = read_ahead(one, entries, at_most=_AHEAD, threads=_THREADS)
    return {entry.sha256: origin for entry, origin in zip(entries, found, strict=True) if origin is not None}
