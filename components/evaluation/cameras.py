"""The camera that took an image. Captures name it; the key of an image names only the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from components.stores.datasets.manifest import ManifestImage
from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import S3ObjectStore, parse_uri
from components.stores.raw_images.images import RawImage, RawImages
from inspection.paths import parse_raw_key

_THREADS: Final = 8
_AHEAD: Final = 256  # images whose Captures are being read


def cameras_of(store: S3ObjectStore, entries: Sequence[ManifestImage]) -> dict[str, str]:
    """sha256 -> `site/device camera`, for each image that has a readable Capture beside it in the store."""

    def one(entry: ManifestImage) -> str | None:
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
        names = sorted({capture.camera for capture in RawImages(store, bucket).captures(image)})
        return f"{parsed.site}/{parsed.device} {names[0]}" if names else None

    found = read_ahead(one, entries, at_most=_AHEAD, threads=_THREADS)
    return {entry.sha256: camera for entry, camera in zip(entries, found, strict=True) if camera}
