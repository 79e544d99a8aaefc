"""The TUF repository in the releases bucket: one writer, and nothing visible before all of it is there.

A publication uploads target files, then `N.targets.json`, then `M.snapshot.json`, and last `timestamp.json`: a device
sees the old state or the new one. Timestamp names the snapshot by hash and the snapshot the targets by hash, so what a
killed publication left behind was never trusted and may be overwritten.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore

_log = logging.getLogger(__name__)

LIFETIMES: Final[Mapping[str, timedelta]] = {
    "targets": timedelta(days=3650),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
RENEW_BEFORE: Final = 0.5  # of a lifetime left

Role = TypeVar("Role", Targets, Snapshot, Timestamp)


class RepositoryError(RuntimeError):
    """The repository in the bucket is not what its own signatures say."""


def _now() -> datetime:
    return datetime.now(UTC)


class ReleaseRepository:
    """The publisher. Thread-safe inside one process; only one process may hold the keys."""

    def __init__(
        self,
        store: S3ObjectStore,
        bucket: str,
        root: Metadata[Root],
        signers: Mapping[str, CryptoSigner],
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._root = root
        self._signers = signers
        self._now = now
        self._lock = threading.RLock()

    def initialise(self) -> None:
        """Put root metadata and empty roles where there are none yet."""
        with self._lock:
            self._store.put(
                self._bucket,
                f"metadata/{self._root.signed.version}.root.json",
                self._root.to_bytes(),
                content_type="application/json",
            )
            if not self._store.exists(self._bucket, "metadata/timestamp.json"):
                self._commit(Targets(), Snapshot(), Timestamp())
                _log.info("made an empty release repository in %s", self._bucket)

    def targets(self) -> Mapping[str, TargetFile]:
        """All published targets: path -> length and hashes."""
        with self._lock:
            return dict(self._open()[0].targets)

    def read_target(self, path: str) -> bytes | None:
        """A published target's bytes, checked; None where it is not published."""
        with self._lock:
            target = self._open()[0].targets.get(path)
            if target is None:
                return None
            data = self._store.get(self._bucket, _target_key(path, target.hashes["sha256"]))
            try:
                target.verify_length_and_hashes(data)
            except TufError as e:
                raise RepositoryError(f"the published {path} has other bytes than were signed: {e}") from e
            return data

    def publish(self, files: Iterable[tuple[str, bytes]]) -> bool:
        """Add or replace targets, all at once; False where they were all there already."""
        with self._lock:
            targets, snapshot, timestamp = self._open()
            changed = False
            for path, data in files:
                target = TargetFile.from_data(path, data, ["sha256"])
                if targets.targets.get(path) == target:
                    continue
                self._store.put(self._bucket, _target_key(path, target.hashes["sha256"]), data)
                targets.targets[path] = target
                changed = True
            if changed:
                targets.version += 1
                snapshot.version += 1
                timestamp.version += 1
                self._commit(targets, snapshot, timestamp)
            return changed

    def renew(self) -> bool:
        """Sign snapshot and timestamp again where less than half of a lifetime is left."""
        with self._lock:
            targets, snapshot, timestamp = self._open()
            now = self._now()
            due = [
                role
                for role, signed in (("snapshot", snapshot), ("timestamp", timestamp))
                if signed.expires - now < LIFETIMES[role] * RENEW_BEFORE
            ]
            if not due:
                return False
            if "snapshot" in due:
                snapshot.version += 1
            timestamp.version += 1
            self._commit(targets, snapshot, timestamp, targets_too=False, snapshot_too="snapshot" in due)
            _log.info("renewed %s", " and ".join(due))
            return True

    def _open(self) -> tuple[Targets, Snapshot, Timestamp]:
        timestamp = self._read("metadata/timestamp.json", "timestamp", Timestamp)
        version = timestamp.snapshot_meta.version
        snapshot = self._read(f"metadata/{version}.snapshot.json", "snapshot", Snapshot)
        version = snapshot.meta["targets.json"].version
        return self._read(f"metadata/{version}.targets.json", "targets", Targets), snapshot, timestamp

    def _read(self, key: str, role: str, kind: type[Role]) -> Role:
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(self._store.get(self._bucket, key))
            self._root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except ObjectNotFound as e:
            raise RepositoryError(f"{self._bucket}/{key} is missing; the release repository is damaged") from e
        except TufError as e:
            raise RepositoryError(f"{self._bucket}/{key} is not signed {role} metadata of these keys: {e}") from e
        if not isinstance(metadata.signed, kind):
            raise RepositoryError(f"{self._bucket}/{key} is {metadata.signed.type} metadata, expected {role}")
        return metadata.signed

    def _commit(
        self,
        targets: Targets,
        snapshot: Snapshot,
        timestamp: Timestamp,
        *,
        targets_too: bool = True,
        snapshot_too: bool = True,
    ) -> None:
        if targets_too:
            data = self._sign("targets", targets)
            snapshot.meta["targets.json"] = _meta(targets.version, data)
            self._put(f"metadata/{targets.version}.targets.json", data)
        if snapshot_too:  # never a published version with other bytes: the timestamp that devices hold names its hash
            data = self._sign("snapshot", snapshot)
            timestamp.snapshot_meta = _meta(snapshot.version, data)
            self._put(f"metadata/{snapshot.version}.snapshot.json", data)
        self._put("metadata/timestamp.json", self._sign("timestamp", timestamp))

    def _sign(self, role: str, signed: Targets | Snapshot | Timestamp) -> bytes:
        signed.expires = self._now().replace(microsecond=0) + LIFETIMES[role]
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(self._signers[role])
        return metadata.to_bytes()

    def _put(self, key: str, data: bytes) -> None:
        self._store.put(self._bucket, key, data, content_type="application/json")


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def _target_key(path: str, sha256: str) -> str:
    # Consistent snapshots (TUF specification, section 6.2): the file name carries the hash.
    folder, _, name = path.rpartition("/")
    return f"targets/{folder}/{sha256}.{name}" if folder else f"targets/{sha256}.{name}"
