"""The device's S3 client: the few requests that it makes, with failures as `StoreError`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from edge_agent.config import S3, Credentials, load_credentials
from edge_agent.errors import AccessDenied, ConfigError, ObjectNotFound, StoreError, StoreUnavailable

_NOT_FOUND: Final = frozenset({"NoSuchKey", "NoSuchBucket", "NotFound", "ResourceNotFound", "NoSuchVersion"})
_DENIED: Final = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"})
_EXISTS: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_CHUNK: Final = 256 * 1024


class ObjectStore(Protocol):
    """The requests that the agent makes to a store."""

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False, content_type: str = ...) -> bool:
        """Write an object. With `if_absent`, an existing object is not changed, and the answer is False."""

    def get(self, bucket: str, key: str) -> bytes:
        """Read the whole object."""

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset` on; fewer at the end of the object."""

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        """Read the object in pieces, since a model need not fit into memory. Errors come before the first piece."""


class S3ObjectStore:
    """`ObjectStore` on any S3 server, with one identity. Safe to share between threads."""

    def __init__(
        self,
        endpoint: str,
        region: str,
        credentials: Credentials,
        *,
        addressing: str = "path",
        ca_file: str | None = None,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 60.0,
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise ConfigError(f"expected s3.endpoint as http(s)://host:port, but got {endpoint!r}")
        self.endpoint = endpoint
        self._client: Any = Minio(
            parts.netloc,
            access_key=credentials.access_key,
            secret_key=credentials.secret_key.get_secret_value(),
            secure=parts.scheme == "https",
            region=region,  # given, since the client would otherwise need the right to ask for the location of a bucket
            http_client=urllib3.PoolManager(
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
            StoreUnavailable: the store cannot be reached.
        """
        headers = {"Content-Type": content_type}
        if if_absent:
            headers["If-None-Match"] = "*"
        try:
            # put_object() stores a header that it does not know as metadata of the object, so this calls the function
            # below it; the contract test of both clients fails where a new version changes that function.
            self._client._execute("PUT", bucket, key, body=data, headers=headers)
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
        return b"".join(self._pieces(bucket, key, self._open(bucket, key, offset, length)))

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
            return self._client.get_object(bucket, key, offset=offset, length=length)
        except Exception as e:
            raise self._error(e, f"get s3://{bucket}/{key}") from e

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
        if code in _NOT_FOUND:
            return ObjectNotFound(f"{act}: there is no such object")
        if code in _DENIED:
            return AccessDenied(f"{act}: refused for this device's identity ({code}); check its keys, rights and clock")
        # Any other error of the client has the same meaning here, such as a login page that it cannot parse.
        return StoreUnavailable(f"{act} at {self.endpoint} failed: {_first_line(error)}")


def _code(error: Exception) -> str:
    if isinstance(error, S3Error):
        return str(error.code)
    # Some servers answer an error without the XML that S3 prescribes; then only the HTTP status is known.
    status = getattr(error, "_code" if isinstance(error, InvalidResponseError) else "status_code", None)
    if isinstance(error, InvalidResponseError | ServerError):
        return {
            403: "AccessDenied",
            404: "NoSuchKey",
            409: "ConditionalRequestConflict",
            412: "PreconditionFailed",
        }.get(status or 0, "")
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
