"""An object that several processes may change: each change is made under a condition, and the ETag is the fence.

`make` writes with `If-None-Match: *` and `replace` with `If-Match`, so that of several callers at once one wins. A
holder that was passed over meanwhile notices it at its next `replace`, before it acts. Both read the object back
afterwards: the answer to a write may have been lost, and a repeated write is then refused although the first one
arrived.

Claims (`claims.py`) and leases (`leases.py`) are built on it. Each has a rule of its own for when a holder may be
passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore


@dataclass(frozen=True, slots=True)
class FencedObject:
    """One object of a bucket."""

    store: S3ObjectStore
    bucket: str
    key: str

    def read(self) -> tuple[bytes, str]:
        """The object and its ETag.

        Raises:
            ObjectNotFound: there is none.
            ObjectStoreError: the store did not answer.
        """
        return self.store.get_with_etag(self.bucket, self.key)

    def make(self, data: bytes) -> tuple[bytes, str]:
        """Write the object if there is none, and read it: the caller made it if it holds the caller's data.

        Raises:
            ObjectNotFound: there was one, and it was removed just now.
            ObjectStoreError: the store did not answer.
        """
        self.store.put(self.bucket, self.key, data, if_absent=True, content_type="application/json")
        return self.read()

    def replace(self, data: bytes, etag: str) -> str | None:
        """Write the object if it still has this ETag. Returns the new ETag, or None where somebody else changed it.

        Raises:
            ObjectStoreError: the store did not answer.
        """
        self.store.put(self.bucket, self.key, data, if_match=etag, content_type="application/json")
        try:
            found, now = self.read()
        except ObjectNotFound:
            return None
        return now if found == data else None

    def remove(self) -> None:
        """Delete the object."""
        self.store.delete(self.bucket, self.key)
