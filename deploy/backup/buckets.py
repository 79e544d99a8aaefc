"""Buckets as a backup reads and writes them: all versions, the content type, and the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from components.settings import Settings
from components.stores.objects.s3 import client_config
from deploy.backup.documents import BackupError

ORDER: Final = ("releases", "fleet", "state", "weights", "mlflow", "datasets", "labels", "raw")
"""What names others before what is named: an object that is copied later may be one more, and never one less."""
VERSIONED: Final = ("raw",)
HEADS: Final = {"releases": ("metadata/timestamp.json",)}
"""Bucket -> what names the newest of its other objects. It is read before the bucket is listed, and restored last."""
_GONE: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchVersion"})


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or a version of it, as a listing names it."""

    key: str
    version: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The bytes of an object, and what a browser is told of them."""

    data: bytes
    etag: str
    content_type: str


class Buckets:
    """The buckets of an installation with one identity. Safe to share between threads."""

    def __init__(self, client: Any, prefix: str) -> None:
        """client: boto3's of S3. prefix: of the names of buckets."""
        self._client, self._prefix = client, prefix

    @classmethod
    def from_settings(cls, settings: Settings) -> Buckets:
        """The store that the settings of this process name."""
        secret, token = settings.secret_access_key, settings.session_token
        client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint,
            region_name=settings.s3_region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            aws_session_token=token.get_secret_value() if token else None,
            verify=settings.s3_ca_file,
            config=client_config(settings.s3_addressing, attempts=5, connect_timeout=5, read_timeout=60,
                                 max_pool_connections=16),
        )  # fmt: skip
        return cls(client, settings.bucket_prefix)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def list(self, bucket: str) -> Iterator[Listed]:
        """Yield every object; of a bucket that keeps versions, every version, those of a key oldest first.

        Raises:
            BackupError: the bucket is not there, or the store refused.
        """
        name = self._prefix + bucket
        try:
            if bucket in VERSIONED:
                yield from self._versions(name)
                return
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=name):
                for item in page.get("Contents", ()):
                    yield Listed(item["Key"], "", item["ETag"], item["Size"])
        except (ClientError, BotoCoreError) as e:
            raise self._error(e, f"list {name}") from e

    def _versions(self, name: str) -> Iterator[Listed]:
        waiting: list[Listed] = []
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=name):
            for item in page.get("Versions", ()):
                if waiting and waiting[-1].key != item["Key"]:
                    yield from reversed(waiting)
                    waiting = []
                waiting.append(Listed(item["Key"], str(item.get("VersionId", "")), item["ETag"], item["Size"]))
        yield from reversed(waiting)

    def is_empty(self, bucket: str) -> bool:
        """Whether the bucket holds nothing.

        Raises:
            BackupError: the bucket is not there, or the store refused.
        """
        try:
            return not self._client.list_objects_v2(Bucket=self._prefix + bucket, MaxKeys=1).get("Contents")
        except (ClientError, BotoCoreError) as e:
            raise self._error(e, f"list {self._prefix}{bucket}") from e

    def get(self, bucket: str, key: str, version: str = "") -> Taken | None:
        """Return an object; None if it is gone.

        Raises:
            BackupError: the store refused.
        """
        more = {"VersionId": version} if version else {}
        try:
            answer = self._client.get_object(Bucket=self._prefix + bucket, Key=key, **more)
            with answer["Body"] as stream:
                return Taken(stream.read(), answer["ETag"], answer.get("ContentType") or "binary/octet-stream")
        except ClientError as e:
            if _code(e) in _GONE:
                return None
            raise self._error(e, f"get {self._prefix}{bucket}/{key}") from e
        except BotoCoreError as e:
            raise self._error(e, f"get {self._prefix}{bucket}/{key}") from e

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        """Write an object.

        Raises:
            BackupError: the store refused.
        """
        try:
            self._client.put_object(Bucket=self._prefix + bucket, Key=key, Body=data, ContentType=content_type)
        except (ClientError, BotoCoreError) as e:
            raise self._error(e, f"put {self._prefix}{bucket}/{key}") from e

    def _error(self, error: Exception, act: str) -> BackupError:
        place = self._client.meta.endpoint_url
        if isinstance(error, ClientError) and _code(error) == "NoSuchBucket":
            return BackupError(
                f"{act} at {place}: there is no such bucket; make the buckets first, and check the address"
            )
        return BackupError(f"{act} at {place}: {error}")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
