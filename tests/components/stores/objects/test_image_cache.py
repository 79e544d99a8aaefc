"""Images by digest on this machine's disk, before a real S3."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.training.delay_proxy import delayed
from components.settings import Settings
from components.stores.objects.image_cache import ImageCache, cached
from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from components.stores.raw_images.images import RawImages
from inspection.image import sha256_of

ROOMY = 10**9
_ROOT = Path(__file__).resolve().parents[2]


def content(number, size=100):
    return number.to_bytes(4, "big") * (size // 4)


def digest(number, size=100):
    return sha256_of(content(number, size))


def kept(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


def settings(folder, **more):
    return Settings(cache_dir=str(folder), **more)


class Source:
    """Where images come from; counts what is asked of it."""

    def __init__(self, count=40, size=100):
        self.images = {digest(number, size): content(number, size) for number in range(count)}
        self.asked = []

    def fetch(self, uri, sha256):
        self.asked.append(sha256)
        return self.images[sha256]


def fetch_all(fetch, digests):
    return list(read_ahead(lambda sha256: fetch("s3://raw/x", sha256), digests, at_most=16))


def test_what_one_step_fetched_the_next_one_does_not_ask_s3_for(store, installation, tmp_path):
    """Real S3: a request an image, then none; and the bytes are the same."""
    bucket = installation.bucket("raw")
    source = Source(count=20)
    uris = {sha256: f"s3://{bucket}/cache/{sha256}.jpg" for sha256 in source.images}
    for sha256, data in source.images.items():
        store.put(bucket, f"cache/{sha256}.jpg", data)
    with delayed(installation.s3_endpoint, 0) as proxy:
        own = S3ObjectStore.from_settings(installation.model_copy(update={"s3_endpoint": proxy.url}))

        def step():
            fetch = cached(RawImages(own, bucket).fetch, settings(tmp_path), source.images)
            return list(read_ahead(lambda sha256: fetch(uris[sha256], sha256), uris, at_most=16))

        assert step() == list(source.images.values())
        first = proxy.traffic()
        assert first.requests == 20
        assert step() == list(source.images.values())
        assert proxy.traffic() == first


def test_an_overwritten_image_is_kept_as_it_was_labelled(store, installation, tmp_path):
    """The oldest bytes with the digest, never those that were put over them."""
    bucket, data = installation.bucket("raw"), content(5000)
    for bytes_ in (data, b"put over it"):
        store.put(bucket, "cache/overwritten.jpg", bytes_)
    fetch = cached(RawImages(store, bucket).fetch, settings(tmp_path), [])
    for _ in range(2):
        assert fetch(f"s3://{bucket}/cache/overwritten.jpg", sha256_of(data)) == data
    assert kept(tmp_path) == {sha256_of(data)}
    with pytest.raises(ObjectNotFound):
        fetch(f"s3://{bucket}/cache/overwritten.jpg", digest(5001))


def test_without_a_folder_nothing_is_kept():
    """The way of a pod that has no disk for it."""
    source = Source()
    assert cached(source.fetch, Settings(), []) == source.fetch


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b"", lambda data: b"x" + data[1:]])
def test_a_damaged_file_is_noticed_and_fetched_again(tmp_path, damage):
    """Cut off, emptied, or a byte changed: its hash says so; then it is whole again."""
    source = Source(count=1)
    (sha256,) = source.images
    fetch = cached(source.fetch, settings(tmp_path), source.images)
    fetch("s3://raw/x", sha256)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(damage(source.images[sha256]))
    assert fetch("s3://raw/x", sha256) == source.images[sha256]
    assert len(source.asked) == 2
    assert file.read_bytes() == source.images[sha256]


def test_bytes_with_another_digest_are_not_kept(tmp_path):
    """Bytes with another digest are returned, since the caller checks them too, but are not kept."""
    fetch = cached(lambda uri, sha256: b"something else", settings(tmp_path), [])
    assert fetch("s3://raw/x", digest(1)) == b"something else"
    assert kept(tmp_path) == set()


def test_a_digest_that_is_none_names_no_file_outside(tmp_path):
    """Rows of a table come from outside too."""
    cache = ImageCache(tmp_path / "cache", ROOMY)
    (tmp_path / "secret").write_bytes(b"x")
    assert cache.read("../secret") is None
    assert (tmp_path / "secret").exists()


_KILLED = """
import sys, time
from components.stores.objects.image_cache import cached
from components.settings import Settings
from inspection.image import sha256_of

def fetch(uri, sha256):
    if sha256 == digests[25]:
        print("now", flush=True)
        time.sleep(600)
    return images[sha256]

images = {sha256_of(data): data for data in (number.to_bytes(4, "big") * 25 for number in range(40))}
digests = list(images)
look = cached(fetch, Settings(cache_dir=sys.argv[1]), images)
for sha256 in digests:
    look("s3://raw/x", sha256)
"""


def test_a_killed_fetch_goes_on_where_it_was(tmp_path):
    """Killed after 25 of 40: 15 are fetched. What it left unfinished is no image, and goes once it is old."""
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as process:
        assert process.stdout.readline() == b"now\n"
        process.kill()
    source = Source()
    assert kept(tmp_path) == set(list(source.images)[:25])
    half = tmp_path / "images" / "ab" / ".abcdef01-x.tmp"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half of an ima")
    os.utime(half, (time.time() - 7200,) * 2)
    fetch = cached(source.fetch, settings(tmp_path), source.images)
    assert fetch_all(fetch, source.images) == list(source.images.values())
    assert sorted(source.asked) == sorted(list(source.images)[25:])
    assert kept(tmp_path) == set(source.images)


def test_the_longest_unused_go_first_and_never_what_the_step_needs(tmp_path):
    """A thousand bytes for images of a hundred; 0 is needed, 1 was read lately."""
    cache = ImageCache(tmp_path, 1000, keep={digest(0)}, leave_free_bytes=0)
    for number in range(10):
        cache.write(digest(number), content(number))
        os.utime(tmp_path / digest(number)[:2] / digest(number), (1000 + number,) * 2)
    assert cache.read(digest(1)) == content(1)
    cache.write(digest(10), content(10))
    assert kept(tmp_path) == {digest(number) for number in (0, 1, 4, 5, 6, 7, 8, 9, 10)}
    for number in range(11, 60):
        cache.write(digest(number), content(number))
        assert len(kept(tmp_path)) <= 10
    assert digest(0) in kept(tmp_path)


def test_a_step_that_needs_more_than_the_limit_reads_on(tmp_path, caplog):
    """A step keeps as many images as fit and reads the rest from S3, and the log says so once."""
    source = Source()
    fetch = cached(source.fetch, settings(tmp_path, cache_max_bytes=1000), source.images)
    for _ in range(2):
        assert [fetch("s3://raw/x", sha256) for sha256 in source.images] == list(source.images.values())
    assert kept(tmp_path) == set(list(source.images)[:10])
    assert len(source.asked) == 40 + 30
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "its 1,000 bytes are taken by what this step needs" in caplog.text


def test_threads_that_write_at_once_stay_within_the_limit(tmp_path):
    """Threads that write at once stay within the limit, because a file counts before it is written."""
    source = Source(count=200)
    fetch_all(cached(source.fetch, settings(tmp_path, cache_max_bytes=1000), []), source.images)
    assert 0 < len(kept(tmp_path)) <= 10


def test_a_folder_that_cannot_be_used_fails_no_training(tmp_path, caplog):
    """A file stands where the folder should be: one warning, and all images."""
    (tmp_path / "file").write_bytes(b"")
    source = Source()
    fetch = cached(source.fetch, settings(tmp_path / "file"), source.images)
    for _ in range(2):
        assert fetch_all(fetch, source.images) == list(source.images.values())
    assert len(caplog.records) == 1
    assert "Not a directory" in caplog.text


def test_a_disk_with_little_room_is_left_to_the_training(tmp_path, caplog):
    """Nothing is added below the bytes that stay free."""
    cache = ImageCache(tmp_path, ROOMY, leave_free_bytes=10**18)
    for number in range(3):
        cache.write(digest(number), content(number))
    assert kept(tmp_path) == set()
    assert len(caplog.records) == 1
    assert "of its disk are free" in caplog.text


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, caplog):
    """The kernel takes a thousand bytes of two thousand and refuses the rest, as on a disk that is full."""
    cache = ImageCache(tmp_path, ROOMY, leave_free_bytes=0)
    cache.write(digest(1), content(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        cache.write(digest(2, 2000), content(2, 2000))
        cache.write(digest(3, 2000), content(3, 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert kept(tmp_path) == {digest(1)}
    assert cache.read(digest(1)) == content(1)
    assert len(caplog.records) == 1
    assert "File too large" in caplog.text


_CHURN = """
import sys
from pathlib import Path
from components.stores.objects.image_cache import ImageCache
from inspection.image import sha256_of

cache = ImageCache(Path(sys.argv[1]), 1600, leave_free_bytes=0)
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 60):
    data = number.to_bytes(4, "big") * 25
    cache.write(sha256_of(data), data)
    assert cache.read(sha256_of(data)) in (data, None)
"""


def test_two_processes_share_a_folder_within_its_limit(tmp_path):
    """Two processes write and remove the same images, read the right bytes, and keep the folder near its limit."""
    both = [
        subprocess.Popen([sys.executable, "-c", _CHURN, str(tmp_path), first], cwd=_ROOT, stderr=subprocess.PIPE)
        for first in ("0", "20")
    ]
    assert [(process.communicate()[1], process.returncode) for process in both] == [(b"", 0)] * 2
    assert 0 < len(kept(tmp_path)) <= 16 + 2
    assert not [name for name in kept(tmp_path) if name.endswith(".tmp")]
