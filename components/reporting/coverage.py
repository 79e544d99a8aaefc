"""What of each camera's images has an approved label, and when it last sent one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from components.stores.objects.read_ahead import read_ahead
from components.stores.raw_images.images import RawImage, RawImages

_THREADS: Final = 16
_AHEAD: Final = 256  # images whose Captures are being read
_MAX_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class CameraCoverage:
    """One camera of one device. camera: None for images whose Capture was not read or says nothing.

    last: day (UTC) of the newest image.
    """

    device: str
    camera: str | None
    images: int
    approved: int
    last: date

    @property
    def share(self) -> float:
        """Of its images that have an approved label, 0..1."""
        return self.approved / self.images


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of the raw bucket. captures_read: images whose Capture was looked at for the camera's name, of `images`."""

    cameras: tuple[CameraCoverage, ...]
    images: int
    approved: int
    captures_read: int


@dataclass(slots=True)
class _Tally:
    images: int = 0
    approved: int = 0
    last: date = field(default=date.min)


def measure_coverage(raw: RawImages, approved: Collection[str], *, max_captures: int) -> Coverage:
    """List all images; read a Capture of the newest `max_captures` to know their cameras.

    A device stands in the key of an image, its camera only in the Capture beside it: one request each.

    Raises:
        ObjectStoreError: the bucket could not be listed.
    """
    images = list(raw.list_images())
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


def _cameras(raw: RawImages, images: Iterable[RawImage]) -> dict[str, str]:
    """sha256 -> the camera that its first readable Capture names."""

    def look(image: RawImage) -> tuple[str, str | None]:
        capture = next(raw.captures(image), None)
        return image.sha256, capture.camera[:_MAX_NAME] if capture else None

    found = read_ahead(look, images, at_most=_AHEAD, threads=_THREADS)
    return {sha256: camera for sha256, camera in found if camera}
