"""Buckets and targets in memory, for the rules of backups."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.backup.buckets import Listed, Taken
from deploy.backup.documents import BackupError


def etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class BucketsInMemory:
    """As `deploy.backup.buckets.Buckets`. before_get: called with each key that is read."""

    def __init__(self, *names: str) -> None:
        self.held: dict[str, dict[str, list[bytes]]] = {name: {} for name in names}
        self.read: list[str] = []
        self.written: list[str] = []
        self.before_get: Callable[[str], None] = lambda key: None

    def list(self, bucket: str) -> Iterator[Listed]:
        for key, versions in sorted(self.held[bucket].items()):
            shown = list(enumerate(versions)) if bucket == "raw" else [(len(versions) - 1, versions[-1])]
            for number, data in shown:
                yield Listed(key, str(number) if bucket == "raw" else "", etag_of(data), len(data))

    def is_empty(self, bucket: str) -> bool:
        return not self.held[bucket]

    def get(self, bucket: str, key: str, version: str = "") -> Taken | None:
        self.before_get(key)
        self.read.append(key)
        versions = self.held[bucket].get(key)
        if versions is None:
            return None
        data = versions[int(version)] if version else versions[-1]
        return Taken(data, etag_of(data), "image/jpeg" if key.endswith(".jpg") else "binary/octet-stream")

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        self.written.append(f"{bucket}/{key}")
        kept = self.held[bucket].setdefault(key, [])
        self.held[bucket][key] = [*kept, data] if bucket == "raw" else [data]


class TargetInMemory:
    """As `deploy.backup.targets.Target`. kill_at: the write with this number ends the process, in the test's eyes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.kill_at = 0
        self.writes = 0
        self.busy = False

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def write(self, name: str, data: bytes) -> None:
        self.writes += 1
        if self.writes == self.kill_at:
            raise KeyboardInterrupt
        self.files[name] = data

    def has(self, name: str) -> bool:
        return name in self.files

    def names(self, prefix: str) -> Iterator[str]:
        yield from sorted(name for name in self.files if name.startswith(prefix))

    def delete(self, name: str) -> None:
        self.files.pop(name, None)

    @contextmanager
    def alone(self) -> Iterator[Callable[[], None]]:
        if self.busy:
            raise BackupError("another backup is being made or removed there; try again when it has ended")
        yield lambda: None
