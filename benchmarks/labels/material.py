"""One year of a factory: images by site, device and day, each with a capture, and label events for half of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from components.stores.labels.store import LabelEvent, LabelStatus, event_id
from inspection.geometry import Box, LabelledBox

USE_CASE = "bench"
DEVICES = tuple(f"plant{plant}/line{line:02d}" for plant in (1, 2) for line in range(1, 11))
LAST_DAY = date(2026, 5, 31)
DAYS = 365
_REJECTED_EVERY = 50
_BOX = (LabelledBox("scratch", Box(10.0, 20.0, 30.5, 40.25)),)


@dataclass(frozen=True, slots=True)
class Folder:
    """The images of one device and day: the digests from `start` up to `stop`."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Factory:
    """The images of a factory. digests: (n, 32) uint8, ascending within a folder; folders: ascending by name."""

    digests: npt.NDArray[np.uint8]
    folders: Sequence[Folder]

    def sha256(self, index: int) -> str:
        """The digest of an image, as hex."""
        return bytes(self.digests[index]).hex()

    def image_keys(self) -> Iterator[str]:
        """The key of every image, in order."""
        for folder in self.folders:
            for index in range(folder.start, folder.stop):
                yield f"{folder.name}/{self.sha256(index)}.jpg"

    def capture_of(self, key: str) -> str:
        """The key of the one capture of an image."""
        stem = key.removesuffix(".jpg")
        return f"{stem}.{stem[-32:]}.json"

    def with_more(self, images: int, seed: int) -> Factory:
        """The same factory with `images` new images on the last day."""
        new = _digests(images, seed)
        last = f"/{LAST_DAY:%Y/%m/%d}"
        days = [folder for folder in self.folders if folder.name.endswith(last)]
        shares = dict(zip((folder.name for folder in days), np.array_split(new, len(days)), strict=True))
        parts, folders, at = [], [], 0
        for folder in self.folders:
            digests = self.digests[folder.start : folder.stop]
            if folder.name in shares:
                digests = _ascending(np.concatenate([digests, shares[folder.name]]))
            parts.append(digests)
            folders.append(Folder(folder.name, at, at + len(digests)))
            at += len(digests)
        return Factory(np.concatenate(parts), folders)


def make_factory(images: int, seed: int = 1) -> Factory:
    """A factory with this number of images, spread evenly over devices and days."""
    digests = _digests(images, seed)
    names = sorted(f"{device}/{LAST_DAY - timedelta(days=back):%Y/%m/%d}" for device in DEVICES for back in range(DAYS))
    edges = np.linspace(0, images, len(names) + 1).astype(int)
    folders = [Folder(name, int(edges[i]), int(edges[i + 1])) for i, name in enumerate(names)]
    for folder in folders:
        digests[folder.start : folder.stop] = _ascending(digests[folder.start : folder.stop])
    return Factory(digests, folders)


def label_events(factory: Factory, events: int, *, first: int = 0, seed: int = 2) -> Iterator[LabelEvent]:
    """Yield two events for each of some randomly drawn images: labelled, then approved.

    Every fiftieth image is rejected instead of approved.

    Args:
        first: how many images of that draw already have their events.
    """
    order = np.random.default_rng(seed).permutation(len(factory.digests))[first : first + events // 2]
    folder_of = [folder.start for folder in factory.folders]
    start = datetime(2025, 6, 1, tzinfo=UTC)
    for number, index in enumerate(order, first):
        sha256 = factory.sha256(int(index))
        folder = factory.folders[bisect_left(folder_of, int(index) + 1) - 1].name
        last = LabelStatus.REJECTED if number % _REJECTED_EVERY == 0 else LabelStatus.APPROVED
        for minutes, status in ((0, LabelStatus.LABELLED), (7, last)):
            at = start + timedelta(minutes=number + minutes)
            yield LabelEvent(
                event_id=event_id("bench", "1", str(number), at.isoformat(), status),
                use_case=USE_CASE,
                image_uri=f"s3://kizu-raw/{folder}/{sha256}.jpg",
                sha256=sha256,
                width=450,
                height=300,
                boxes=_BOX,
                status=status,
                at=at,
                group=sha256,
                source="label-studio",
                annotator="1",
                verifier="2" if status is not LabelStatus.LABELLED else None,
                project="1",
                task=str(number),
                annotation=str(number),
            )


def approved_of(events: int, *, first: int = 0) -> int:
    """The number of images that `label_events` approves, for the same arguments."""
    return sum(number % _REJECTED_EVERY != 0 for number in range(first, first + events // 2))


def _digests(count: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def _ascending(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    ordered: npt.NDArray[np.uint8] = digests[np.lexsort(digests.T[::-1])]
    return ordered
