"""Fetch images from S3 onto this machine's disk: the published sample's way, and ours for the first and second time."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from benchmarks.apart import apart
from benchmarks.training import reference
from benchmarks.training.delay_proxy import Traffic, delayed
from components.settings import Settings
from components.stores.objects.image_cache import cached
from components.stores.objects.read_ahead import READERS, read_ahead
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages
from inspection.image import sha256_of

SAMPLE, GETS, FIRST, SECOND = "sample", "gets", "first", "second"
_WAYS: Final[Mapping[str, Callable[..., float]]] = {SAMPLE: reference.download, GETS: reference.get}


@dataclass(frozen=True, slots=True)
class Stored:
    """Images in S3. uris: sha256 -> URI of the image; size_bytes: the size of all images together."""

    uris: Mapping[str, str]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """The fetches at one distance to the store.

    seconds: way -> the seconds of each round; first, second: what our first and our second fetches sent and received.

    round_trip_ms: None without a proxy; then `first` and `second` are None, too.
    """

    round_trip_ms: float | None
    seconds: Mapping[str, Sequence[float]]
    first: Traffic | None
    second: Traffic | None

    def median(self, way: str) -> float:
        """The median seconds of a way."""
        return statistics.median(self.seconds[way])

    def times(self, way: str) -> float:
        """How many times faster our first fetch is than `way`, by medians."""
        return self.median(way) / self.median(FIRST)


def fill(settings: Settings, photographs: Sequence[bytes], count: int) -> Stored:
    """Put `count` images with different bytes into the raw bucket.

    The photographs are repeated, each time with another number appended. A decoder ignores the bytes
    after the end of a JPEG.
    """
    store = S3ObjectStore.from_settings(settings)
    bucket = settings.bucket("raw")
    store._client.create_bucket(Bucket=bucket)
    images = [data + number.to_bytes(4, "big") for number, data in enumerate(islice(cycle(photographs), count))]
    uris = {sha256_of(data): f"s3://{bucket}/bench/line1/2026/01/01/{sha256_of(data)}.jpg" for data in images}
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(lambda data: store.put(bucket, uris[sha256_of(data)].split("/", 3)[3], data), images))
    return Stored(uris, sum(len(data) for data in images))


def fetch(settings: Settings, uris: Mapping[str, str]) -> float:
    """Fetch images as the steps do, into the cache that the settings name.

    Returns:
        The seconds that it took, with the creation of the client.
    """
    began = time.perf_counter()
    look = cached(RawImages(S3ObjectStore.from_settings(settings), settings.bucket("raw")).fetch, settings, uris)
    for _ in read_ahead(lambda sha256: look(uris[sha256], sha256), uris, at_most=2 * READERS):
        pass
    return time.perf_counter() - began


def measure(settings: Settings, stored: Stored, round_trip_ms: float | None, rounds: int, work: Path) -> Fetched:
    """Measure all ways in turns, in a random order in each round. Each has a process and a folder of its own.

    Raises:
        RuntimeError: the files that a way left on the disk are not the images in S3.
    """
    seconds: dict[str, list[float]] = {way: [] for way in (SAMPLE, GETS, FIRST, SECOND)}
    passed = {FIRST: Traffic(), SECOND: Traffic()}
    draw = random.Random(0)
    with _store_at(settings, round_trip_ms) as (near, traffic):
        for _ in range(rounds):
            for way in draw.sample([SAMPLE, GETS, FIRST], 3):
                with tempfile.TemporaryDirectory(dir=work, prefix="fetched-") as folder:
                    if way in _WAYS:
                        seconds[way].append(apart(_WAYS[way], near, list(stored.uris.values()), Path(folder)))
                        _check(Path(folder), stored)
                        continue
                    own = near.model_copy(update={"cache_dir": folder})
                    for turn in (FIRST, SECOND):
                        before = traffic()
                        seconds[turn].append(apart(fetch, own, dict(stored.uris)))
                        passed[turn] = _sum(passed[turn], traffic().since(before))
                    _check(Path(folder), stored)
    known = round_trip_ms is not None
    return Fetched(round_trip_ms, seconds, passed[FIRST] if known else None, passed[SECOND] if known else None)


@contextmanager
def _store_at(settings: Settings, round_trip_ms: float | None) -> Iterator[tuple[Settings, Callable[[], Traffic]]]:
    """Yield settings of a client at this distance from the store, and a function that returns what has passed."""
    if round_trip_ms is None:
        yield settings, Traffic
        return
    assert settings.s3_endpoint is not None
    with delayed(settings.s3_endpoint, round_trip_ms) as proxy:
        yield settings.model_copy(update={"s3_endpoint": proxy.url}), proxy.traffic


def _check(folder: Path, stored: Stored) -> None:
    found = {sha256_of(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    if found != set(stored.uris):
        raise RuntimeError(f"expected {len(stored.uris)} images on the disk, but found {len(found)} files, or others")


def _sum(one: Traffic, other: Traffic) -> Traffic:
    return Traffic(
        one.requests + other.requests,
        one.sent_bytes + other.sent_bytes,
        one.received_bytes + other.received_bytes,
    )
