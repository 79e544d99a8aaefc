"""An object store in memory, at the port `edge_agent.object_store.ObjectStore`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_agent.errors import ObjectNotFound, StoreUnavailable


class MemoryStore:
    """Objects by (bucket, key). `down` makes every call fail as an unreachable store does."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.down = False
        self.puts = 0

    def put(self, bucket, key, data, *, if_absent=False, content_type="application/octet-stream"):
        self._check()
        self.puts += 1
        if if_absent and (bucket, key) in self.objects:
            return False
        self.objects[bucket, key] = data
        return True

    def get(self, bucket, key):
        self._check()
        try:
            return self.objects[bucket, key]
        except KeyError as e:
            raise ObjectNotFound(f"get s3://{bucket}/{key}: there is no such object") from e

    def get_range(self, bucket, key, offset, length):
        return self.get(bucket, key)[offset : offset + length]

    def stream(self, bucket, key) -> Iterator[bytes]:
        return iter([self.get(bucket, key)])

    def keys(self, bucket: str) -> list[str]:
        return sorted(key for owner, key in self.objects if owner == bucket)

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("the store is down")


class FolderStore(MemoryStore):
    """Objects as files, so that they outlive the process that put them; each put is counted in a log."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, bucket, key, data, *, if_absent=False, content_type=""):
        path = self.folder / key
        if if_absent and path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        temporary.write_bytes(data)
        temporary.replace(path)
        return True
