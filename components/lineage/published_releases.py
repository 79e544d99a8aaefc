"""Published releases as a reader of the bucket sees them: what the TUF metadata name, followed by digest.

Signatures are the devices' to check, and the signer's. Here each document is compared with the digest by which the one
before names it, from the timestamp down, so that what a killed publication left behind is no release.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from inspection.codec import DocumentError
from inspection.documents import Release
from inspection.image import sha256_of

_RELEASE: Final = re.compile(r"releases/(?P<digest>[0-9a-f]{64})/release\.json")
_MAX_METADATA_BYTES: Final = 64 * 1024 * 1024
_MAX_RELEASE_BYTES: Final = 16 * 1024 * 1024


class PublishedReleasesError(RuntimeError):
    """The repository's metadata do not name each other."""


class PublishedReleases:
    """The releases of one bucket; the metadata are read once."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._read: dict[str, Release] = {}

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """All that are published, in the order of their digests; none where nothing was ever published.

        Raises:
            PublishedReleasesError: the metadata were damaged or replaced.
        """
        try:
            timestamp = self._signed("timestamp.json", "")
        except ObjectNotFound:
            return ()
        snapshot = self._named(timestamp, "snapshot.json")
        targets = self._named(snapshot, "targets.json")
        found = (_RELEASE.fullmatch(path) for path in targets["targets"])
        return tuple(sorted(match["digest"] for match in found if match))

    def release(self, digest: str) -> Release | None:
        """A published release; None where there is none.

        Raises:
            PublishedReleasesError: its bytes are others than were published.
        """
        if digest not in self.digests:
            return None
        if digest not in self._read:
            # A release is named by the digest of release.json, and so is the file, as consistent snapshots are.
            key = f"targets/releases/{digest}/{digest}.release.json"
            try:
                data = self._store.get(self._bucket, key, max_bytes=_MAX_RELEASE_BYTES)
                if sha256_of(data) != digest:
                    raise PublishedReleasesError(f"s3://{self._bucket}/{key} has other bytes than were published")
                self._read[digest] = Release.from_json(data)
            except (ObjectNotFound, DocumentError) as e:
                raise PublishedReleasesError(f"s3://{self._bucket}/{key} is published, but {e}") from e
        return self._read[digest]

    def _named(self, by: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        try:
            meta = by["meta"][name]
            return self._signed(f"{meta['version']}.{name}", meta["hashes"]["sha256"])
        except (KeyError, TypeError) as e:
            raise PublishedReleasesError(f"the release repository in {self._bucket} names no {name}: {e!r}") from e
        except ObjectNotFound as e:
            raise PublishedReleasesError(f"the release repository in {self._bucket} is damaged: {e}") from e

    def _signed(self, name: str, sha256: str) -> Mapping[str, Any]:
        data = self._store.get(self._bucket, f"metadata/{name}", max_bytes=_MAX_METADATA_BYTES)
        if sha256 and sha256_of(data) != sha256:
            raise PublishedReleasesError(f"s3://{self._bucket}/metadata/{name} is not the one that is named")
        try:
            signed: Mapping[str, Any] = json.loads(data)["signed"]
        except (ValueError, KeyError, TypeError) as e:
            raise PublishedReleasesError(f"s3://{self._bucket}/metadata/{name} is no TUF metadata: {e!r}") from e
        return signed
