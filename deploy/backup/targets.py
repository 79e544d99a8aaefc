"""Where backups are kept: a folder, or a bucket of another store. Both hold files that are written once."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from components.stores.objects.leases import Lease, LeaseError, LeaseRules
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore
from components.stores.objects.whole_file import PRIVATE, sync_folder, write_whole
from deploy.access.locks import try_lock
from deploy.backup.documents import BackupError, BackupManifest, require_id
from inspection.codec import DocumentError

_BLOBS: Final = "blobs/"
_BACKUPS: Final = "backups/"
_BUSY: Final = "another backup is being made or removed there; try again when it has ended"


class Target(Protocol):
    """Files by name, written whole or not at all."""

    def read(self, name: str) -> bytes:
        """The bytes of a file; FileNotFoundError where there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def names(self, prefix: str) -> Iterator[str]:
        """The names of all files below a prefix."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file; no error where there is none."""
        ...

    def alone(self) -> AbstractContextManager[Callable[[], None]]:
        """Keep others from making and removing backups while the block runs; yields what says: still here."""
        ...


class Shelf:
    """A target as backups use it. Safe to share between threads, as the target is."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.alone = target.alone

    def keep(self, data: bytes) -> str:
        """Write bytes under their SHA-256, unless they are there. Returns it."""
        digest = hashlib.sha256(data).hexdigest()
        name = _blob(digest)
        if not self._target.has(name):
            self._target.write(name, data)
        return digest

    def take(self, digest: str) -> bytes:
        """Return the bytes with this SHA-256.

        Raises:
            BackupError: they are not there, or are others.
        """
        try:
            data = self._target.read(_blob(digest))
        except FileNotFoundError as e:
            raise BackupError(f"{_blob(digest)} is missing in the backup") from e
        if hashlib.sha256(data).hexdigest() != digest:
            raise BackupError(f"{_blob(digest)} is damaged: its bytes have another SHA-256")
        return data

    def blobs(self) -> Iterator[str]:
        """Yield the SHA-256 of everything that is there."""
        for name in self._target.names(_BLOBS):
            digest = name.rpartition("/")[2]
            if name == _blob(digest):
                yield digest

    def drop(self, digest: str) -> None:
        """Remove the bytes with this SHA-256."""
        self._target.delete(_blob(digest))

    def finish(self, manifest: BackupManifest) -> None:
        """Write the manifest: from now on there is such a backup."""
        self._target.write(f"{_BACKUPS}{manifest.id}.json", manifest.to_json())

    def ids(self) -> list[str]:
        """Return the names of all backups, the oldest first."""
        found = []
        for name in self._target.names(_BACKUPS):
            with suppress(BackupError):
                found.append(require_id(name.removeprefix(_BACKUPS).removesuffix(".json")))
        return sorted(found)

    def manifest(self, backup: str) -> BackupManifest:
        """Return what a backup holds.

        Raises:
            BackupError: there is no such backup, or its manifest is damaged.
        """
        try:
            return BackupManifest.from_json(self._target.read(f"{_BACKUPS}{require_id(backup)}.json"))
        except FileNotFoundError as e:
            raise BackupError(f"there is no backup {backup}; `kizu backup list` shows those that are there") from e
        except DocumentError as e:
            raise BackupError(f"the manifest of {backup} is damaged: {e}") from e

    def forget(self, backup: str) -> None:
        """Remove a manifest: from now on there is no such backup."""
        self._target.delete(f"{_BACKUPS}{require_id(backup)}.json")


def _blob(digest: str) -> str:
    return f"{_BLOBS}{digest[:2]}/{digest}"


class FolderTarget:
    """A folder of this machine, or one that is mounted. Its files are for their owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes:
        """See `Target`."""
        return (self._folder / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See `Target`."""
        path = self._folder / name
        write_whole(path, data, PRIVATE)
        sync_folder(path.parent)

    def has(self, name: str) -> bool:
        """See `Target`."""
        return (self._folder / name).is_file()

    def names(self, prefix: str) -> Iterator[str]:
        """See `Target`. What a killed writer left is none of them."""
        for path in sorted((self._folder / prefix).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self._folder).as_posix()

    def delete(self, name: str) -> None:
        """See `Target`."""
        (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[Callable[[], None]]:
        """See `Target`.

        Raises:
            BackupError: another process works there.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = try_lock(self._folder / ".lock")
        if lock is None:
            raise BackupError(_BUSY)
        with lock:
            for left in self._folder.rglob(".*.new"):  # of a writer that was killed
                left.unlink(missing_ok=True)
            yield lambda: None


class StoreTarget:
    """A folder of a bucket in another store. prefix: "" or one that ends with a slash."""

    def __init__(self, store: S3ObjectStore, bucket: str, prefix: str) -> None:
        self._store, self._bucket, self._prefix = store, bucket, prefix

    def read(self, name: str) -> bytes:
        """See `Target`."""
        try:
            return self._store.get(self._bucket, self._prefix + name)
        except ObjectNotFound as e:
            raise FileNotFoundError(name) from e

    def write(self, name: str, data: bytes) -> None:
        """See `Target`."""
        self._store.put(self._bucket, self._prefix + name, data)

    def has(self, name: str) -> bool:
        """See `Target`."""
        return self._store.exists(self._bucket, self._prefix + name)

    def names(self, prefix: str) -> Iterator[str]:
        """See `Target`."""
        for info in self._store.list(self._bucket, self._prefix + prefix):
            yield info.key.removeprefix(self._prefix)

    def delete(self, name: str) -> None:
        """See `Target`."""
        self._store.delete(self._bucket, self._prefix + name)

    @contextmanager
    def alone(self) -> Iterator[Callable[[], None]]:
        """See `Target`. The lease of a process that died is free after ten minutes.

        Raises:
            BackupError: another process works there.
        """
        holder = f"{socket.gethostname()}-{os.getpid()}"
        rules = LeaseRules(ttl_s=600.0)
        lease = Lease(self._store, self._bucket, f"{self._prefix}leases/", holder, rules, time.time)
        if not lease.try_acquire():
            raise BackupError(_BUSY)

        def still_here() -> None:
            try:
                lease.renew()
            except LeaseError as e:
                raise BackupError(_BUSY) from e

        try:
            yield still_here
        finally:
            with suppress(ObjectStoreError):
                lease.release()
