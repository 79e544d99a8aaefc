"""The device's S3 client: the few calls it makes, with their failures named."""

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
    """What the agent asks of a store."""

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False, content_type: str = ...) -> bool:
        """Write an object. With `if_absent`, False and no change where one exists already."""

    def get(self, bucket: str, key: str) -> bytes:
        """The whole object."""

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on; fewer at the end."""

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        """The object in pieces, so that a model never lies in memory whole; errors come before the first piece."""


class S3ObjectStore:
    """`ObjectStore` on any S3, with one identity. Safe to share between threads."""

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
            region=region,  # given, so that no right to ask for a bucket's location is needed
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s),
                maxsize=8,
                cert_reqs="CERT_REQUIRED",
                ca_certs=ca_file or certifi.where(),
                # One more try for a kept connection that the server has closed; longer patience is the callers'.
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
            AccessDenied, StoreUnavailable
        """
        headers = {"Content-Type": content_type}
        if if_absent:
            headers["If-None-Match"] = "*"
        try:
            # put_object() turns a header that it does not know into metadata of the object, so the one call below it
            # is used; the contract test of both adapters notices if a new version changes it.
            self._client._execute("PUT", bucket, key, body=data, headers=headers)
        except Exception as e:
            if if_absent and _code(e) in _EXISTS:
                return False
            raise self._error(e, f"put s3://{bucket}/{key}") from e
        return True

    def get(self, bucket: str, key: str) -> bytes:
        """See `ObjectStore.get`.

        Raises:
            ObjectNotFound, AccessDenied, StoreUnavailable
        """
        return b"".join(self.stream(bucket, key))

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        """See `ObjectStore.get_range`.

        Raises:
            ObjectNotFound, AccessDenied, StoreUnavailable
        """
        return b"".join(self._pieces(bucket, key, self._open(bucket, key, offset, length)))

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        """See `ObjectStore.stream`.

        Raises:
            ObjectNotFound, AccessDenied, StoreUnavailable
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
        # Whatever else comes out of the client, such as a parser's error over a portal's login page, is one cause.
        return StoreUnavailable(f"{act} at {self.endpoint} failed: {_first_line(error)}")


def _code(error: Exception) -> str:
    if isinstance(error, S3Error):
        return str(error.code)
    # Some servers answer an error without the XML that S3 prescribes: the status must do.
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
