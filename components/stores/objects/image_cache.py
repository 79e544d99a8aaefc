"""Images of datasets on this machine's own disk, named by their sha256. What one step fetched, the next one reads here.

The cache is not trusted: an image is used only if its bytes have the digest that names it. So several processes may
share the folder, and it may be lost, damaged or removed at any time. That costs no more than fetching again.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from components.settings import Settings
from components.stores.objects.whole_file import PRIVATE, write_whole
from inspection.image import sha256_of

_log = logging.getLogger(__name__)

Fetch = Callable[[str, str], bytes]
"""`fetch(uri, sha256)`: the bytes of an image."""

_LEAVE_FREE_BYTES: Final = 2_000_000_000  # a training writes to the same disk
_UNFINISHED: Final = (".new", ".tmp")  # of `write_whole`, and of Kizu 0.1
_UNFINISHED_S: Final = 3600.0  # an older one was left by a process that was killed
_FILLED: Final = 0.9  # of the limit is left when room is made: not a look at the folder for each image
_LOOKS: Final = 16  # at the folder while the limit is written once: other processes write there too


def cached(fetch: Fetch, config: Settings, needed: Iterable[str]) -> Fetch:
    """`fetch` with the cache of this machine before it; `fetch` itself if no cache is set.

    Args:
        needed: sha256 of the images that this step reads. None of them is removed to make room for another.
    """
    if not config.cache_dir:
        return fetch
    cache = ImageCache(Path(config.cache_dir) / "images", config.cache_max_bytes, frozenset(needed))

    def look(uri: str, sha256: str) -> bytes:
        data = cache.read(sha256)
        if data is None:
            data = fetch(uri, sha256)
            cache.write(sha256, data)
        return data

    return look


class ImageCache:
    """A folder of images, each in a file named by its digest. Safe to share between threads and processes.

    If the disk is full, read-only or not accessible, the cache logs that once and keeps nothing from then on.

    Args:
        max_bytes: of all images; those unused for longest are removed first. Each other process that writes at
            the same time may exceed it by a sixteenth.
        keep: digests that are never removed from here.
        leave_free_bytes: of the disk, below which nothing is added.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        keep: Collection[str] = frozenset(),
        *,
        leave_free_bytes: int = _LEAVE_FREE_BYTES,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep = keep
        self._leave_free_bytes = leave_free_bytes
        self._lock = Lock()
        self._allowance = 0  # bytes that may be written before the folder is looked at again
        self._in_writing = 0  # bytes that were let in and that a look would not see yet
        self._keeps_more = True

    def read(self, sha256: str) -> bytes | None:
        """The bytes with this digest, or None if the cache does not have them intact."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as e:
            self._give_up(str(e))
            return None
        if sha256_of(data) != sha256:
            _log.info("%s is damaged and is fetched again", path)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # the time of last use
        return data

    def write(self, sha256: str, data: bytes) -> None:
        """Keep an image if there is room. Bytes with another digest are not kept."""
        if not self._keeps_more or sha256_of(data) != sha256:
            return
        path = self._path(sha256)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._let_in(len(data)):
                return
            try:
                write_whole(path, data, PRIVATE)
            finally:
                with self._lock:
                    self._in_writing -= len(data)
        except OSError as e:
            self._give_up(str(e))

    def _path(self, sha256: str) -> Path:
        # A digest comes from a table or a manifest. Whatever its text is, it must not name a file outside the folder.
        name = sha256 if len(sha256) == 64 and sha256.isalnum() and sha256.isascii() else sha256_of(sha256.encode())
        return self._folder / name[:2] / name

    def _let_in(self, size: int) -> bool:
        with self._lock:
            if not self._keeps_more or size > self._max_bytes:
                return False
            if size > self._allowance:
                left = self._make_room(size)
                if size > left:
                    self._say(f"its {self._max_bytes:,} bytes are taken by what this step needs")
                    return False
                self._allowance = min(left, max(size, self._max_bytes // _LOOKS))
            if shutil.disk_usage(self._folder).free - size < self._leave_free_bytes:
                self._say(f"less than {self._leave_free_bytes:,} bytes of its disk are free")
                return False
            self._allowance -= size
            self._in_writing += size
            return True

    def _make_room(self, size: int) -> int:
        """Remove images unused for longest, if `size` more bytes do not fit. Returns how many bytes are left."""
        found = []
        for folder in os.scandir(self._folder):
            if folder.is_dir(follow_symlinks=False):
                found += [(*_last_use_and_size(entry), entry.path) for entry in os.scandir(folder)]
        used = self._in_writing
        images = []
        for last_use, length, path in sorted(found):
            if path.endswith(_UNFINISHED):
                if time.time() - last_use > _UNFINISHED_S:
                    _remove(path)
                continue
            used += length
            if Path(path).name not in self._keep:
                images.append((length, path))
        if used + size > self._max_bytes:
            for length, path in images:
                if used + size <= self._max_bytes * _FILLED:
                    break
                _remove(path)
                used -= length
        return self._max_bytes - used

    def _give_up(self, reason: str) -> None:
        with self._lock:
            self._say(reason)

    def _say(self, reason: str) -> None:
        """Log the reason, once. The caller holds the lock."""
        if self._keeps_more:
            self._keeps_more = False
            _log.warning(
                "the image cache in %s keeps nothing more (%s); images that it lacks are fetched from S3 each time. "
                "Make room, or set KIZU_CACHE_DIR or KIZU_CACHE_MAX_BYTES",
                self._folder,
                reason,
            )


def _last_use_and_size(entry: os.DirEntry[str]) -> tuple[float, int]:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # another process made room
        return 0.0, 0
    return status.st_mtime, status.st_size


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        Path(path).unlink()
