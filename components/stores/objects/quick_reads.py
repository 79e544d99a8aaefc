"""Reads of small objects with a quarter of boto3's work for each request: botocore signs it, `http.client` sends it.

For each request, boto3 resolves an endpoint, serialises parameters, makes a user agent and parses an answer. For ten
thousand reports of a kilobyte that takes more time than all else. What is answered otherwise than with the whole
object is left to boto3, which knows retries and errors.
"""

from __future__ import annotations

import ssl
from collections import deque
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import quote, urlsplit
from weakref import finalize

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.utils import get_environ_proxies

_OK: Final = 200
_TIMEOUT_S: Final = 60.0


class QuickReads:
    """Reads from a store whose buckets are in the path of its addresses. Safe to share between threads.

    It keeps a connection for each thread that reads at the same time, and closes them at its end.
    """

    def __init__(
        self,
        endpoint: str,
        region: str,
        access_key_id: str | None,
        secret_access_key: str | None,
        session_token: str | None,
        ca_file: str | None,
    ) -> None:
        self._endpoint = urlsplit(endpoint.rstrip("/"))
        self._region = region
        self._keys: Any = (
            Credentials(access_key_id, secret_access_key, session_token)
            if access_key_id and secret_access_key
            else boto3.Session().get_credentials()  # a role or a profile; they renew themselves
        )
        # boto3 knows how to speak to a proxy.
        self._usable = self._keys is not None and not get_environ_proxies(endpoint)
        self._tls = (
            ssl.create_default_context(cafile=ca_file) if self._usable and self._endpoint.scheme == "https" else None
        )
        self._idle: deque[HTTPConnection] = deque()
        finalize(self, _close, self._idle)

    def read(self, bucket: str, key: str) -> bytes | None:
        """The whole object; None where the store answered anything else, or did not answer: then ask as usual."""
        if not self._usable:
            return None
        path = f"{self._endpoint.path}/{bucket}/{quote(key, safe='/-_.~')}"
        request = AWSRequest("GET", f"{self._endpoint.scheme}://{self._endpoint.netloc}{path}")
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connection()
        try:
            S3SigV4Auth(self._keys.get_frozen_credentials(), "s3", self._region).add_auth(request)
            connection.request("GET", path, headers=dict(request.headers.items()))
            answer = connection.getresponse()
            body = answer.read()  # raises if the connection ends before the length that was announced
        except ssl.SSLError:  # boto3 may know other certificates, from settings that only it reads
            self._usable = False
            connection.close()
            return None
        except (OSError, HTTPException, BotoCoreError):
            connection.close()
            return None
        self._idle.append(connection)  # http.client has closed it, and opens it again, if the store asked for that
        return body if answer.status == _OK else None

    def _connection(self) -> HTTPConnection:
        if self._tls is not None:
            return HTTPSConnection(self._endpoint.netloc, timeout=_TIMEOUT_S, context=self._tls)
        return HTTPConnection(self._endpoint.netloc, timeout=_TIMEOUT_S)


def _close(connections: deque[HTTPConnection]) -> None:
    for connection in connections:
        connection.close()
