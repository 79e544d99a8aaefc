"""Read published releases from the releases bucket.

With a trusted root, TUF's own client reads the metadata and checks every signature, as the devices do. Without a root,
or where the metadata have expired, this module follows the metadata from the timestamp down. It compares each document
with the digest that the document before it gives. `signatures` then says that no signature was checked.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore
from inspection.codec import DocumentError
from inspection.documents import Release
from inspection.image import sha256_of

_RELEASE: Final = re.compile(r"releases/(?P<digest>[0-9a-f]{64})/release\.json")
_MAX_METADATA_BYTES: Final = 64 * 1024 * 1024
_MAX_RELEASE_BYTES: Final = 16 * 1024 * 1024
VERIFIED: Final = "verified"
NO_ROOT: Final = "not verified: no trusted root was given"
EXPIRED: Final = "not verified: the metadata have expired"


class PublishedReleasesError(RuntimeError):
    """The repository's metadata or a release is damaged, or the metadata do not verify with the trusted root."""


class PublishedReleases:
    """The published releases of one bucket. The metadata are read once.

    Args:
        store: the object store that holds the bucket.
        bucket: the name of the TUF repository's bucket.
        root: the bytes of the trusted `root.json`. With None, no signature is checked.
    """

    def __init__(self, store: S3ObjectStore, bucket: str, root: bytes | None = None) -> None:
        self._store = store
        self._bucket = bucket
        self._root = root
        self._read: dict[str, Release] = {}

    @property
    def signatures(self) -> str:
        """Whether the signatures were checked: `verified`, or `not verified: ` and why.

        Raises:
            PublishedReleasesError: the metadata are damaged, or do not verify with the trusted root.
        """
        return self._published[1]

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of all published releases, sorted. It is empty where nothing was ever published.

        Raises:
            PublishedReleasesError: the metadata are damaged, or do not verify with the trusted root.
        """
        return self._published[0]

    def release(self, digest: str) -> Release | None:
        """Return a published release, or None where none has this digest.

        Raises:
            PublishedReleasesError: the bytes of the release differ from the published ones, are missing, or are no
                release document; or the metadata are damaged, or do not verify with the trusted root.
        """
        if digest not in self.digests:
            return None
        if digest not in self._read:
            # The digest of release.json names a release. It names the file too, because TUF's snapshots are consistent.
            # So this comparison checks the hash in the signed metadata.
            key = f"targets/releases/{digest}/{digest}.release.json"
            try:
                data = self._store.get(self._bucket, key, max_bytes=_MAX_RELEASE_BYTES)
                if sha256_of(data) != digest:
                    raise PublishedReleasesError(f"s3://{self._bucket}/{key} has other bytes than were published")
                self._read[digest] = Release.from_json(data)
            except (ObjectNotFound, DocumentError) as e:
                raise PublishedReleasesError(f"s3://{self._bucket}/{key} is published, but {e}") from e
        return self._read[digest]

    @cached_property
    def _published(self) -> tuple[tuple[str, ...], str]:
        """The digests of the releases, and the text of `signatures`."""
        if not self._store.exists(self._bucket, "metadata/timestamp.json"):
            return (), NO_ROOT if self._root is None else VERIFIED
        if self._root is None:
            return self._followed(), NO_ROOT
        try:
            return self._verified(self._root), VERIFIED
        except ExpiredMetadataError:
            return self._followed(), EXPIRED

    def _verified(self, root: bytes) -> tuple[str, ...]:
        with tempfile.TemporaryDirectory(prefix="kizu-lineage-") as folder:
            try:
                updater = Updater(
                    folder,
                    "metadata/",
                    fetcher=_BucketFetcher(self._store, self._bucket),
                    config=UpdaterConfig(
                        targets_max_length=_MAX_METADATA_BYTES, snapshot_max_length=_MAX_METADATA_BYTES
                    ),
                    bootstrap=root,
                )
                updater.refresh()
                # The client keeps the metadata that it verified in its folder.
                targets = Metadata[Targets].from_file(str(Path(folder) / "targets.json")).signed
            except ExpiredMetadataError:
                raise
            except DownloadError as e:
                if isinstance(e.__cause__, ObjectStoreError) and not isinstance(e, DownloadHTTPError):
                    raise e.__cause__ from e
                raise PublishedReleasesError(f"the release repository in {self._bucket} is damaged: {e}") from e
            except TufError as e:
                raise PublishedReleasesError(
                    f"the release repository in {self._bucket} does not verify with the trusted root: {e}"
                ) from e
        return _releases_in(targets.targets)

    def _followed(self) -> tuple[str, ...]:
        timestamp = self._signed("timestamp.json", "")
        snapshot = self._named(timestamp, "snapshot.json")
        return _releases_in(self._named(snapshot, "targets.json")["targets"])

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


def _releases_in(paths: Mapping[str, object]) -> tuple[str, ...]:
    found = (_RELEASE.fullmatch(path) for path in paths)
    return tuple(sorted(match["digest"] for match in found if match))


class _BucketFetcher(FetcherInterface):
    """Lets TUF's client read a bucket. A URL is a key of the bucket."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return iter((self._store.get(self._bucket, url, max_bytes=_MAX_METADATA_BYTES),))
        except ObjectNotFound as e:
            raise DownloadHTTPError(str(e), 404) from e
