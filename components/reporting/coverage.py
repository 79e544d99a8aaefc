"""Counts, for each camera, the images with an approved label, and finds the day of its newest image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import parse_uri
from components.stores.raw_images.images import RawImage, RawImages

_THREADS: Final = 16
_AHEAD: Final = 256  # at most so many Captures are requested ahead
_MAX_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class CameraCoverage:
    """One camera of one device. camera: None for images whose Capture was not read or names no camera.

    last: the day (UTC) of the newest image.
    """

    device: str
    camera: str | None
    images: int
    approved: int
    last: date

    @property
    def share(self) -> float:
        """The share of its images that have an approved label, 0..1."""
        return self.approved / self.images


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage of the raw bucket. captures_read: how many images had their Capture read for the camera's name."""

    cameras: tuple[CameraCoverage, ...]
    images: int
    approved: int
    captures_read: int


@dataclass(slots=True)
class _Tally:
    images: int = 0
    approved: int = 0
    last: date = field(default=date.min)


def measure_coverage(
    raw: RawImages,
    approved: Collection[str],
    *,
    max_captures: int,
    owns: Callable[[str], bool] = lambda device: True,
) -> Coverage:
    """List the images of a product, and read a Capture of each of the newest `max_captures` images to learn its camera.

    The key of an image names its device. Only its Capture names the camera, and each Capture needs one request.

    owns: whether the images of a device, `<site>/<device>`, are of the product.

    Raises:
        ObjectStoreError: the bucket could not be listed.
    """
    images = [image for image in raw.list_images() if any(owns(device) for device in _devices(image))]
    newest = sorted((image for image in images if image.capture_keys), key=lambda image: (image.day, image.sha256))
    cameras = _cameras(raw, newest[len(newest) - min(len(newest), max_captures) :])
    tallies: dict[tuple[str, str | None], _Tally] = {}
    for image in images:
        tally = tallies.setdefault((image.device, cameras.get(image.sha256)), _Tally())
        tally.images += 1
        tally.approved += image.sha256 in approved
        tally.last = max(tally.last, image.day)
    return Coverage(
        cameras=tuple(
            CameraCoverage(device, camera, tally.images, tally.approved, tally.last)
            for (device, camera), tally in sorted(
                tallies.items(), key=lambda item: (item[0][0], item[0][1] or "\uffff")
            )
        ),
        images=len(images),
        approved=sum(tally.approved for tally in tallies.values()),
        captures_read=min(len(newest), max_captures),
    )


def _devices(image: RawImage) -> list[str]:
    keys = (parse_uri(image.uri)[1], *image.also_at)
    return ["/".join(key.split("/")[:2]) for key in keys]


def _cameras(raw: RawImages, images: Iterable[RawImage]) -> dict[str, str]:
    """Return sha256 -> the camera that the first readable Capture of the image names."""

    def look(image: RawImage) -> tuple[str, str | None]:
        capture = next(raw.captures(image), None)
        return image.sha256, capture.camera[:_MAX_NAME] if capture else None

    found = read_ahead(look, images, at_most=_AHEAD, threads=_THREADS)
    return {sha256: camera for sha256, camera in found if camera}
