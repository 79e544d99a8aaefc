"""The raw bucket: images by digest, and the Captures beside them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore, parse_uri
from components.stores.raw_images.listing import RawListing
from components.stores.raw_images.renditions import NOT_SHOWN, render, rendition_key
from inspection.codec import DocumentError
from inspection.documents import Capture
from inspection.image import EXTENSIONS, decode_image, image_format, sha256_of
from inspection.paths import capture_key, parse_raw_key, raw_image_key

_log = logging.getLogger(__name__)

MAX_CAPTURE_BYTES = 256 * 1024
MAX_IMAGE_BYTES = 200_000_000
_MAX_NAME = 200
_MAX_PATH = 1024
_MAX_DETECTIONS = 1000


@dataclass(frozen=True, slots=True)
class RawImage:
    """One image, wherever and however often it was sent.

    capture_keys: None if they are not listed yet; `RawImages.captures` then lists them beside `uri` and `also_at`, in
    the order in which they were stored.
    also_at: the other keys of the same bytes.
    """

    sha256: str
    uri: str
    device: str
    day: date
    capture_keys: tuple[str, ...] | None = None
    also_at: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """The result of storing an image."""

    uri: str
    sha256: str
    width: int
    height: int
    new: bool
    capture_key: str


class RawImages:
    """Images in the raw bucket."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def put(self, data: bytes, capture: Capture, *, site: str) -> Stored:
        """Store an image under its digest, once, its rendition if no browser shows it, and its Capture.

        Running it again changes nothing.

        Raises:
            ImageError: the bytes are not a usable image; nothing was written.
            ValueError: the Capture is of another image.
        """
        image = decode_image(data)
        digest = sha256_of(data)
        if digest != capture.sha256:
            raise ValueError(f"the Capture is of image {capture.sha256}, but the bytes are of {digest}")
        key = raw_image_key(site, capture.device, capture.captured_at, digest, EXTENSIONS[image_format(data)])
        new = self._store.put(self._bucket, key, data, if_absent=True, content_type=f"image/{image_format(data)}")
        if image_format(data) in NOT_SHOWN:
            self._store.put(
                self._bucket, rendition_key(digest), render(image), if_absent=True, content_type="image/png"
            )
        beside = capture_key(key, capture.capture_id)
        self._store.put(self._bucket, beside, capture.to_json(), if_absent=True, content_type="application/json")
        return Stored(f"s3://{self._bucket}/{key}", digest, image.shape[1], image.shape[0], new, beside)

    def has(self, key: str) -> bool:
        """Whether there is such an object. A Capture is written after its image, so if it is there, both are."""
        return self._store.exists(self._bucket, key)

    @property
    def listing(self) -> RawListing:
        """The bucket's listing in columns, for too many images to hold as objects."""
        return RawListing(self._store, self._bucket)

    def list_images(self, since: date | None = None) -> list[RawImage]:
        """Every image, each sha256 once (its smallest key names it); with `since`, only those of that day and later."""
        listing = self.listing
        spans = listing.spans(listing.devices(), since)
        images: dict[str, list[str]] = {}
        captures: dict[str, list[str]] = {}
        for keys in listing.read(spans, lambda pages: [key for page in pages for key in page]):
            for key in keys:
                parsed = parse_raw_key(key)
                if parsed is None or (since is not None and parsed.day < since):
                    continue
                (images if parsed.capture_id is None else captures).setdefault(parsed.sha256, []).append(key)
        return [self.image(sorted(keys), sorted(captures.get(sha256, ()))) for sha256, keys in images.items()]

    def image(self, keys: Sequence[str], capture_keys: Sequence[str] | None = None) -> RawImage:
        """The image of these keys, the first of which names it.

        Raises:
            ValueError: the first key is not that of an image.
        """
        parsed = parse_raw_key(keys[0])
        if parsed is None or parsed.capture_id is not None:
            raise ValueError(f"expected the key of an image, but got {keys[0]!r}")
        return RawImage(
            parsed.sha256,
            f"s3://{self._bucket}/{keys[0]}",
            parsed.device,
            parsed.day,
            None if capture_keys is None else tuple(capture_keys),
            tuple(keys[1:]),
        )

    def captures(self, image: RawImage) -> Iterator[Capture]:
        """The readable Captures of an image. A bad one is logged and left out, as a stolen device may send anything."""
        for key in self._capture_keys(image) if image.capture_keys is None else image.capture_keys:
            try:
                capture = Capture.from_json(self._store.get(self._bucket, key, max_bytes=MAX_CAPTURE_BYTES))
                _check_form(capture)
                if capture.sha256 != image.sha256:
                    raise DocumentError(f"it speaks of image {capture.sha256}")
                parsed = parse_raw_key(key)
                if parsed is None or capture.device != parsed.device:
                    raise DocumentError(f"it speaks for the device {capture.device}")
            except (DocumentError, ObjectStoreError) as e:
                _log.warning("Capture %s is passed over: %s", key, e)
                continue
            yield capture

    def captures_since(self, image: RawImage, since: datetime) -> Iterator[Capture]:
        """The readable Captures of an image that were stored at this time or later, by the store's clock."""
        keys = tuple(key for stored_at, key in self._stored_captures(image) if stored_at >= since)
        yield from self.captures(replace(image, capture_keys=keys))

    def _capture_keys(self, image: RawImage) -> list[str]:
        return [key for _, key in self._stored_captures(image)]

    def _stored_captures(self, image: RawImage) -> list[tuple[datetime, str]]:
        """When each Capture was stored, and its key; in that order."""
        stems = [key.rsplit(".", 1)[0] for key in (parse_uri(image.uri)[1], *image.also_at)]
        listed = [info for stem in stems for info in self._store.list(self._bucket, f"{stem}.")]
        parsed = ((info, parse_raw_key(info.key)) for info in listed)
        return sorted((info.modified, info.key) for info, parts in parsed if parts and parts.capture_id is not None)

    def fetch(self, uri: str, sha256: str) -> bytes:
        """The bytes with this digest, even if they were overwritten since.

        Raises:
            ObjectNotFound: no version of the object has this digest.
        """
        bucket, key = parse_uri(uri)
        return self._store.get_oldest_matching(bucket, key, sha256, max_bytes=MAX_IMAGE_BYTES)


def _check_form(capture: Capture) -> None:
    """Check that the texts of a Capture are short and printable, because they appear in names, tables and pages."""
    for name, value, most in (
        ("capture_id", capture.capture_id, _MAX_NAME),
        ("camera", capture.camera, _MAX_NAME),
        ("part_id", capture.part_id or "", _MAX_NAME),
        ("release_digest", capture.release_digest or "", _MAX_NAME),
        ("original_name", capture.original_name or "", _MAX_PATH),
        *(("class_name", detection.class_name, _MAX_NAME) for detection in capture.detections[:_MAX_DETECTIONS]),
    ):
        if len(value) > most or not value.isprintable():
            raise DocumentError(f"expected {name} of at most {most} printable characters, got {value[:40]!r}")
    if len(capture.detections) > _MAX_DETECTIONS:
        raise DocumentError(f"expected at most {_MAX_DETECTIONS} detections, got {len(capture.detections)}")


def capture_id_for(sha256: str, reason: str, captured_at: datetime) -> str:
    """A Capture id that is the same for the same reason and moment: so importing again changes nothing."""
    return sha256_of(f"{sha256}|{reason}|{captured_at.isoformat()}".encode())[:32]
