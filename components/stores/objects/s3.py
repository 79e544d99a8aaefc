"""S3 through boto3: the few calls that Kizu makes, with errors of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from components.settings import Settings
from components.stores.objects.list_page import (
    BODY,
    ListingError,
    ListPage,
    ObjectInfo,
    keep_page,
    parse_objects,
    parse_page,
)
from components.stores.objects.quick_reads import QuickReads
from inspection.image import sha256_of

T = TypeVar("T")
_NOT_FOUND: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchVersion"})
_NO_BUCKET: Final = "NoSuchBucket"
_DENIED: Final = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "InvalidObjectState", "SignatureDoesNotMatch"})
_EXISTS: Final = frozenset({"412", "PreconditionFailed"})
_CONFLICT: Final = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
"""Another writer is at the same key. Whether the condition holds is open; S3 asks for the same request again."""
_CONFLICT_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class ObjectStoreError(RuntimeError):
    """The store did not do what it was asked to."""


class ObjectNotFound(ObjectStoreError):
    """No such object."""


class BucketNotFound(ObjectStoreError):
    """There is no such bucket. It is not an `ObjectNotFound`: an installation without buckets is not an empty one."""


class ObjectTooLarge(ObjectStoreError):
    """The object has more bytes than allowed; they were not read."""


class AccessDenied(ObjectStoreError):
    """This identity may not do that."""


def parse_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` -> (bucket, key).

    Raises:
        ValueError: it has another form.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket or not key:
        raise ValueError(f"expected s3://bucket/key, but got {uri!r}")
    return bucket, key


def client_config(addressing: str, *, attempts: int, **more: Any) -> Config:
    """boto3's configuration of a client, for any S3-compatible store.

    attempts: how often a request is sent at most. more: other settings of boto3.
    """
    return Config(
        s3={"addressing_style": addressing},
        # boto3 sends a checksum with each write otherwise, which several S3-compatible stores refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"max_attempts": attempts, "mode": "standard"},
        **more,
    )


class S3ObjectStore:
    """A client with one identity. Safe to share between threads.

    session_token: of a temporary key. sleep: waits so many seconds before a conditional write is sent again.
    """

    def __init__(
        self,
        endpoint: str | None,
        region: str,
        access_key_id: str | None,
        secret_access_key: str | None,
        *,
        addressing: str = "path",
        ca_file: str | None = None,
        session_token: str | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self._sleep = sleep
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            aws_session_token=session_token,
            verify=ca_file,
            config=client_config(addressing, attempts=5, connect_timeout=5, read_timeout=60, max_pool_connections=32),
        )
        self._client.meta.events.register("before-parse.s3.ListObjectsV2", keep_page)
        self._new_quick_reads = (
            partial(QuickReads, endpoint, region, access_key_id, secret_access_key, session_token, ca_file)
            if endpoint and addressing == "path"
            else None
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> S3ObjectStore:
        """A client with this process's identity and endpoint. Without keys, boto3 finds some (a role, a profile)."""
        secret, token = settings.secret_access_key, settings.session_token
        return cls(
            settings.s3_endpoint,
            settings.s3_region,
            settings.access_key_id,
            secret.get_secret_value() if secret else None,
            addressing=settings.s3_addressing,
            ca_file=settings.s3_ca_file,
            session_token=token.get_secret_value() if token else None,
        )

    @classmethod
    def source_of(cls, settings: Settings) -> S3ObjectStore:
        """The store that imports read from: the one set for them (AWS if it has no endpoint), else Kizu's own."""
        if not settings.source_s3_endpoint and not settings.source_access_key_id:
            return cls.from_settings(settings)
        secret, token = settings.source_secret_access_key, settings.source_session_token
        return cls(
            settings.source_s3_endpoint,
            settings.source_s3_region or settings.s3_region,
            settings.source_access_key_id,
            secret.get_secret_value() if secret else None,
            addressing="path" if settings.source_s3_endpoint else "auto",
            ca_file=settings.s3_ca_file if settings.source_s3_endpoint else None,
            session_token=token.get_secret_value() if token else None,
        )

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        content_type: str = "application/octet-stream",
    ) -> bool:
        """Write an object.

        Returns False, and changes nothing, if `if_absent` is set and there is an object already, or if `if_match` is
        set and the object has another ETag.
        """
        condition = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_match} if if_match else {}
        act = f"put s3://{bucket}/{key}"
        for pause_s in (*_CONFLICT_PAUSES_S, None):
            try:
                self._client.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type, **condition)
                return True
            except ClientError as e:
                if condition and _code(e) in _EXISTS:
                    return False
                if if_match and _code(e) in _NOT_FOUND:
                    return False  # the object is gone, so its ETag differs
                if not condition or _code(e) not in _CONFLICT or pause_s is None:
                    raise self._error(e, act) from e
                self._sleep(pause_s)
            except BotoCoreError as e:
                raise self._error(e, act) from e
        raise AssertionError("the last attempt returns or raises")

    def get(self, bucket: str, key: str, *, version_id: str | None = None, max_bytes: int | None = None) -> bytes:
        """The whole object.

        Raises:
            ObjectNotFound, AccessDenied, ObjectStoreError
            ObjectTooLarge: it has more than `max_bytes`.
        """
        return self._get(bucket, key, {"VersionId": version_id} if version_id else {}, max_bytes)[0]

    def get_with_etag(self, bucket: str, key: str) -> tuple[bytes, str]:
        """The whole object and its ETag, for a `put` with `if_match`. Raises as `get`."""
        return self._get(bucket, key, {})

    def _get(self, bucket: str, key: str, more: dict[str, str], max_bytes: int | None = None) -> tuple[bytes, str]:
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key, **more)
            stream = answer["Body"]
            body: bytes = stream.read() if max_bytes is None else stream.read(max_bytes + 1)
        except (ClientError, BotoCoreError) as e:
            raise self._error(e, f"get s3://{bucket}/{key}") from e
        if max_bytes is not None and len(body) > max_bytes:
            stream.close()
            raise ObjectTooLarge(f"expected s3://{bucket}/{key} to have at most {max_bytes} bytes, but it has more")
        return body, answer["ETag"]

    def get_oldest_matching(self, bucket: str, key: str, sha256: str, *, max_bytes: int | None = None) -> bytes:
        """The oldest version of an object whose bytes have this digest, so that overwriting replaces no image.

        Raises:
            ObjectNotFound: there is no version with these bytes.
        """
        try:
            newest = self.get(bucket, key, max_bytes=max_bytes)
        except (ObjectNotFound, ObjectTooLarge):  # never there, deleted or overwritten: its versions tell
            newest = b""
        if sha256_of(newest) == sha256:
            return newest
        for version_id in reversed(self._version_ids(bucket, key)):
            try:
                data = self.get(bucket, key, version_id=version_id, max_bytes=max_bytes)
            except ObjectTooLarge:
                continue
            if sha256_of(data) == sha256:
                return data
        raise ObjectNotFound(f"s3://{bucket}/{key} has no version with sha256 {sha256}; it was overwritten or damaged")

    def _version_ids(self, bucket: str, key: str) -> list[str]:
        found: list[str] = []
        try:
            for page in self._client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
                found += [item["VersionId"] for item in page.get("Versions", ()) if item["Key"] == key]
        except (ClientError, BotoCoreError) as e:
            raise self._error(e, f"list versions of s3://{bucket}/{key}") from e
        return found

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """An object's size and date, without its bytes.

        Raises:
            ObjectNotFound, AccessDenied, ObjectStoreError
        """
        try:
            found = self._client.head_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as e:
            raise self._error(e, f"head s3://{bucket}/{key}") from e
        return ObjectInfo(key, found["ContentLength"], found["ETag"], found["LastModified"])

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as e:
            if _code(e) in _NOT_FOUND:
                return False
            raise self._error(e, f"head s3://{bucket}/{key}") from e
        except BotoCoreError as e:
            raise self._error(e, f"head s3://{bucket}/{key}") from e
        return True

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects below a prefix, in the order of their keys."""
        token: str | None = None
        while True:
            found, following = self._listed(parse_objects, bucket, prefix, {"ContinuationToken": token})
            yield from found
            if following is None:
                return
            if following == token:
                raise ObjectStoreError(f"list s3://{bucket}/{prefix}: the store gave the same page twice, {token!r}")
            token = following

    def list_page(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None
    ) -> ListPage:
        """One page of a listing, in the order of the keys; start_after: only keys that sort after it."""
        more = {"Delimiter": delimiter, "StartAfter": start_after, "ContinuationToken": token}
        return self._listed(parse_page, bucket, prefix, more)

    def _listed(self, parse: Callable[[bytes], T], bucket: str, prefix: str, more: Mapping[str, str | None]) -> T:
        given = {name: value for name, value in more.items() if value}
        try:
            return parse(self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, **given)[BODY])
        except (ClientError, BotoCoreError, ListingError) as e:
            raise self._error(e, f"list s3://{bucket}/{prefix}") from e

    def for_many_small(self) -> SmallObjects:
        """The same store for whoever reads thousands of small objects that a listing names."""
        return SmallObjects(self, self._new_quick_reads() if self._new_quick_reads is not None else None)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; no error where there is none."""
        try:
            self._client.delete_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as e:
            raise self._error(e, f"delete s3://{bucket}/{key}") from e

    def _error(self, error: Exception, act: str) -> ObjectStoreError:
        code = _code(error) if isinstance(error, ClientError) else ""
        if code == _NO_BUCKET:
            return BucketNotFound(
                f"{act}: there is no such bucket; make the buckets with kizu up, or python -m deploy.k8s.buckets, "
                "and check KIZU_S3_ENDPOINT and KIZU_BUCKET_PREFIX"
            )
        if code in _NOT_FOUND:
            return ObjectNotFound(f"{act}: there is no such object")
        if code in _DENIED:
            return AccessDenied(
                f"{act}: refused for this identity ({code}); check keys and rights, and whether it is archived"
            )
        return ObjectStoreError(f"{act} at {self.endpoint or 'the default endpoint'} failed: {error}")


class SmallObjects:
    """A store that is read object by object; `S3ObjectStore.for_many_small` makes it. Safe to share between threads."""

    def __init__(self, store: S3ObjectStore, quick: QuickReads | None) -> None:
        self._store = store
        self._quick = quick

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """As `S3ObjectStore.list`."""
        return self._store.list(bucket, prefix)

    def get(self, bucket: str, key: str) -> bytes:
        """As `S3ObjectStore.get`."""
        found = self._quick.read(bucket, key) if self._quick is not None else None
        return self._store.get(bucket, key) if found is None else found


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
