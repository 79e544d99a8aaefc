"""Downloads one signed file in pieces, and continues a download that was interrupted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tuf.api.exceptions import DownloadLengthMismatchError, LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import TargetFile

from edge_agent.disk import Disk
from edge_agent.errors import Interrupted, UpdateError
from edge_agent.object_store import ObjectStore

_log = logging.getLogger(__name__)

PIECE_BYTES: Final = 1_000_000
"""The size of a piece: the most that a broken connection loses, and the most of a model that lies in memory."""


class Download:
    """Downloads files of a TUF repository with consistent snapshots: `targets/<folder>/<sha256>.<name>` in a bucket.

    Args:
        min_free_bytes: what must stay free on the disk; a download that would go below it is refused for now.
        interrupted: asked before each piece; where it says yes, the download ends for now.
    """

    def __init__(
        self,
        store: ObjectStore,
        bucket: str,
        disk: Disk,
        *,
        min_free_bytes: int = 0,
        piece_bytes: int = PIECE_BYTES,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._disk = disk
        self._interrupted = interrupted
        self._min_free_bytes = min_free_bytes
        self._piece_bytes = piece_bytes

    def bring(self, info: TargetFile, target: Path) -> None:
        """Bring a signed file to `target`, where it is durable when this returns. A file that is there is not fetched.

        An interruption leaves `.<name>.part`, which the next call continues. The part is not trusted: length and hash
        of the whole file decide, and a part that does not lead to them is removed.

        Raises:
            LengthOrHashMismatchError, DownloadLengthMismatchError: the store holds other bytes than were signed.
            UpdateError: `disk-full`, transient.
            StoreError: the store cannot be reached, or has no such file.
            Interrupted: `interrupted` said so; the part is continued by the next call.
            OSError: the disk cannot be written.
        """
        if _holds(target, info):
            return
        part = target.with_name(f".{target.name}.part")
        begun = self._bytes_of(part, info.length)
        if begun:
            _log.info("continuing %s from byte %d of %d", info.path, begun, info.length)
        self._append_rest(info, part, begun)
        if begun and not _holds(part, info):
            _log.warning("the part of %s on this disk does not fit; fetching it from the start", info.path)
            self._disk.remove(part)
            self._append_rest(info, part, 0)
        try:
            with part.open("rb") as file:
                info.verify_length_and_hashes(file)
        except LengthOrHashMismatchError:
            self._disk.remove(part)
            raise
        self._disk.finish(part, target)

    def _bytes_of(self, part: Path, most: int) -> int:
        try:
            size = part.stat().st_size
        except FileNotFoundError:
            return 0
        if size <= most:
            return size
        self._disk.remove(part)  # it belongs to an older file of the same name
        return 0

    def _append_rest(self, info: TargetFile, part: Path, offset: int) -> None:
        key = _key(info)
        if info.length == 0:
            self._disk.append(part, b"")
        while offset < info.length:
            if self._interrupted():
                raise Interrupted(f"the download of {info.path} was interrupted at byte {offset}")
            # One byte more than the file has, so that a longer object is noticed without reading all of it.
            wanted = min(self._piece_bytes, info.length - offset + 1)
            free = self._disk.free_bytes(part.parent)
            if free - wanted < self._min_free_bytes:
                message = f"{info.path}: {free:,} bytes are free, and {self._min_free_bytes:,} must stay free"
                raise UpdateError("disk-full", f"{message}; free some disk", transient=True)
            piece = self._store.get_range(self._bucket, key, offset, wanted)
            offset += len(piece)
            if offset > info.length or not piece:
                self._disk.remove(part)
                got = "more" if piece else f"only {offset}"
                raise DownloadLengthMismatchError(f"expected {info.length} bytes of {info.path}, but got {got}")
            self._disk.append(part, piece)


def _key(info: TargetFile) -> str:
    folder, separator, name = info.path.rpartition("/")
    try:
        return f"targets/{folder}{separator}{info.hashes['sha256']}.{name}"
    except KeyError as e:
        raise RepositoryError(f"{info.path} is signed without a sha256") from e


def _holds(path: Path, info: TargetFile) -> bool:
    try:
        with path.open("rb") as file:
            info.verify_length_and_hashes(file)
    except (FileNotFoundError, LengthOrHashMismatchError):
        return False
    return True
