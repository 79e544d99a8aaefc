"""The device's S3 client: the few requests that it makes, with failures as `StoreError`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials import Credentials as MinioCredentials
from minio.credentials import Provider
from minio.error import InvalidResponseError, S3Error, ServerError

from edge_agent.config import S3, Credentials, load_credentials
from edge_agent.errors import (
    AccessDenied,
    ConfigError,
    EdgeError,
    ObjectNotFound,
    StoreError,
    StoreRefuses,
    StoreUnavailable,
)

_NOT_FOUND: Final = frozenset({"NoSuchKey", "NotFound", "ResourceNotFound", "NoSuchVersion"})
_NO_BUCKET: Final = "NoSuchBucket"
_DENIED: Final = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"})
_EXISTS: Final = frozenset({"PreconditionFailed"})
"""A conflict (409) is not among them: another write is under way, and a later try learns what became of it."""
_TRY_AGAIN: Final = frozenset({408, 409, 425, 429})
"""Of the answers 4xx, those that a later try of the same request may change."""
_TOO_LARGE: Final = frozenset({413, 414})
"""What a proxy before the store answers to a large image or a long key, without the XML of S3."""
_CHUNK: Final = 256 * 1024


class ObjectStore(Protocol):
    """The requests that the agent makes to a store."""

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False, content_type: str = ...) -> bool:
        """Write an object. With `if_absent`, an existing object is not changed, and the answer is False."""

    def get(self, bucket: str, key: str) -> bytes:
        """Read the whole object."""

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset` on; fewer at the end of the object, and never more."""

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        """Read the object in pieces, since a model need not fit into memory. Errors come before the first piece."""


class _Keys(Provider):  # type: ignore[misc]  # minio has no types
    """The present keys of the device, for the client, which asks before each request."""

    def __init__(self, credentials: Credentials, read: Callable[[], Credentials] | None) -> None:
        self._credentials = credentials
        self._read = read
        self._lock = threading.Lock()

    def retrieve(self) -> MinioCredentials:
        """The keys, in the client's form."""
        with self._lock:
            return MinioCredentials(self._credentials.access_key, self._credentials.secret_key.get_secret_value())

    def renew(self, used: str) -> bool:
        """Read the file again, since a request with the access key or secret `used` was refused.

        Returns:
            Whether other keys hold now.
        """
        if self._read is None:
            return False
        try:
            found = self._read()
        except EdgeError:
            return False  # it is being written, or nobody may read it: what holds stays
        with self._lock:
            self._credentials = found
            return self._as_one(found) != used

    def in_use(self) -> str:
        """The present keys as one text, for `renew`."""
        with self._lock:
            return self._as_one(self._credentials)

    @staticmethod
    def _as_one(credentials: Credentials) -> str:
        return f"{credentials.access_key}\n{credentials.secret_key.get_secret_value()}"


class S3ObjectStore:
    """`ObjectStore` on any S3 server, with one identity. Safe to share between threads.

    Args:
        reread: reads the device's keys again, where the store refuses them; None where they do not change.
        proxy: `http(s)://host:port` of a forward proxy, with user and password where it asks for them; None for none.
    """

    def __init__(
        self,
        endpoint: str,
        region: str,
        credentials: Credentials,
        *,
        addressing: str = "path",
        ca_file: str | None = None,
        reread: Callable[[], Credentials] | None = None,
        proxy: str | None = None,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 60.0,
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise ConfigError(f"expected s3.endpoint as http(s)://host:port, but got {endpoint!r}")
        self.endpoint = endpoint
        self._keys = _Keys(credentials, reread)
        self._client: Any = Minio(
            parts.netloc,
            credentials=self._keys,
            secure=parts.scheme == "https",
            region=region,  # given, since the client would otherwise need the right to ask for the location of a bucket
            http_client=_pool(
                proxy,
                timeout=urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s),
                maxsize=8,
                cert_reqs="CERT_REQUIRED",
                ca_certs=ca_file or certifi.where(),
                # One more try, for a kept connection that the server has closed. The callers do the further ones.
                retries=urllib3.Retry(total=1, backoff_factor=0.1, redirect=0, status=0),
            ),
        )
        if addressing == "virtual":
            self._client.enable_virtual_style_endpoint()
        else:
            self._client.disable_virtual_style_endpoint()

    @classmethod
    def from_config(cls, s3: S3) -> S3ObjectStore:
        """The store that the device's configuration names, with the device's own identity."""
        return cls(
            s3.endpoint,
            s3.region,
            load_credentials(s3.credentials_file),
            reread=lambda: load_credentials(s3.credentials_file),
            proxy=s3.proxy.get_secret_value() if s3.proxy else None,
            addressing=s3.addressing,
            ca_file=str(s3.ca_file) if s3.ca_file else None,
        )

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        content_type: str = "application/octet-stream",
    ) -> bool:
        """See `ObjectStore.put`.

        Raises:
            ObjectNotFound: no such bucket.
            AccessDenied: this identity may not write there.
            StoreRefuses: the store does not take this key or these bytes.
            StoreUnavailable: the store cannot be reached.
        """
        headers = {"Content-Type": content_type}
        if if_absent:
            headers["If-None-Match"] = "*"
        try:
            # put_object() stores a header that it does not know as metadata of the object, so this calls the function
            # below it; the contract test of both clients fails where a new version changes that function.
            self._with_present_keys(lambda: self._client._execute("PUT", bucket, key, body=data, headers=headers))
        except Exception as e:
            if if_absent and _code(e) in _EXISTS:
                return False
            raise self._error(e, f"put s3://{bucket}/{key}") from e
        return True

    def get(self, bucket: str, key: str) -> bytes:
        """See `ObjectStore.get`.

        Raises:
            ObjectNotFound: there is no such object.
            AccessDenied: this identity may not read it.
            StoreUnavailable: the store cannot be reached.
        """
        return b"".join(self.stream(bucket, key))

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        """See `ObjectStore.get_range`.

        Raises:
            ObjectNotFound: there is no such object.
            AccessDenied: this identity may not read it.
            StoreUnavailable: the store cannot be reached.
        """
        response = self._open(bucket, key, offset, length)
        pieces, size = [], 0
        for piece in self._pieces(bucket, key, response):
            size += len(piece)
            if size > length or (offset and response.status != 206):
                # The rest is never read: it may be gigabytes.
                raise StoreUnavailable(
                    f"get s3://{bucket}/{key} at {self.endpoint}: expected {length} bytes from {offset} on, but the "
                    "answer is another part of the object; does a proxy ignore the header Range?"
                )
            pieces.append(piece)
        return b"".join(pieces)

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        """See `ObjectStore.stream`.

        Raises:
            ObjectNotFound: there is no such object.
            AccessDenied: this identity may not read it.
            StoreUnavailable: the store cannot be reached.
        """
        return self._pieces(bucket, key, self._open(bucket, key, 0, 0))

    def _open(self, bucket: str, key: str, offset: int, length: int) -> Any:
        try:
            return self._with_present_keys(lambda: self._client.get_object(bucket, key, offset=offset, length=length))
        except Exception as e:
            raise self._error(e, f"get s3://{bucket}/{key}") from e

    def _with_present_keys(self, request: Callable[[], Any]) -> Any:
        """Make a request; where its keys are refused and the file holds others by now, once more with those."""
        used = self._keys.in_use()
        try:
            return request()
        except Exception as e:
            if _code(e) not in _DENIED or not self._keys.renew(used):
                raise
        return request()

    def _pieces(self, bucket: str, key: str, response: Any) -> Iterator[bytes]:
        try:
            yield from response.stream(_CHUNK)
        except (urllib3.exceptions.HTTPError, OSError) as e:
            raise self._error(e, f"get s3://{bucket}/{key}") from e
        finally:
            response.close()
            response.release_conn()

    def _error(self, error: Exception, act: str) -> StoreError:
        code = _code(error)
        if code == _NO_BUCKET:
            # No object is at fault: what waits is kept until the bucket is there.
            return StoreUnavailable(f"{act} at {self.endpoint}: there is no such bucket; ask the administrator")
        if code in _NOT_FOUND:
            return ObjectNotFound(f"{act}: there is no such object")
        if code in _DENIED:
            return AccessDenied(f"{act}: refused for this device's identity ({code}); check its keys, rights and clock")
        status = _status(error)
        if status in _TOO_LARGE or (isinstance(error, S3Error) and 400 <= status < 500 and status not in _TRY_AGAIN):
            return StoreRefuses(f"{act}: the store does not take it: {_first_line(error)}")
        # Any other error of the client has the same meaning here, such as a login page that it cannot parse.
        return StoreUnavailable(f"{act} at {self.endpoint} failed: {_first_line(error)}")


def _code(error: Exception) -> str:
    if isinstance(error, S3Error):
        return str(error.code)
    # Some servers answer an error without the XML that S3 prescribes; then only the HTTP status is known.
    if isinstance(error, InvalidResponseError | ServerError):
        return {
            403: "AccessDenied",
            404: "NoSuchKey",
            409: "ConditionalRequestConflict",
            412: "PreconditionFailed",
        }.get(_status(error), "")
    return ""


def _status(error: Exception) -> int:
    if isinstance(error, S3Error):
        return int(getattr(error.response, "status", 0) or 0)
    return int(getattr(error, "_code" if isinstance(error, InvalidResponseError) else "status_code", 0) or 0)


def _pool(proxy: str | None, **options: Any) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(**options)
    parts = urlsplit(proxy)
    if parts.username is None:
        return urllib3.ProxyManager(proxy, **options)
    account = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(address, proxy_headers=urllib3.make_headers(proxy_basic_auth=account), **options)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
