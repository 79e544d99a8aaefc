"""A signed GET by the parts that boto3 is made of, without the rest of it: a third of the processor time.

What a client of boto3 does for each request (rules of endpoints, events, checks of parameters, parsing of dates that
nobody reads) takes longer than a photograph takes over a factory's network, and threads do it one after the other. For
bytes that are checked by a digest afterwards; where this has no answer, boto3 is asked, which tries again and says why.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.response import StreamingBody
from botocore.utils import get_environ_proxies

_TIMEOUTS_S: Final = (5, 60)
_LONGEST_ERROR: Final = 64 * 1024


class PlainGet:
    """Gets of one identity from a store with path-style addresses. Safe to share between threads."""

    def __init__(
        self,
        endpoint: str,
        region: str,
        credentials: Credentials,
        *,
        ca_file: str | None = None,
        max_connections: int = 32,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._region = region
        self._credentials = credentials
        self._session = URLLib3Session(
            verify=ca_file or True,
            proxies=get_environ_proxies(endpoint),
            timeout=_TIMEOUTS_S,
            max_pool_connections=max_connections,
        )

    def __call__(self, bucket: str, key: str, max_bytes: int | None) -> bytes | None:
        """The whole object, of at most `max_bytes`; None where it is not to be had this way, whatever the reason."""
        request = AWSRequest("GET", f"{self._endpoint}/{quote(f'{bucket}/{key}', safe='/~')}", stream_output=True)
        S3SigV4Auth(self._credentials, "s3", self._region).add_auth(request)
        try:
            answer = self._session.send(request.prepare())
            body = StreamingBody(answer.raw, None)  # its digest says whether it is whole
            if answer.status_code != 200:
                body.read(_LONGEST_ERROR)  # so that the connection can be used again
                return None
            data: bytes = body.read(None if max_bytes is None else max_bytes + 1)
        except (BotoCoreError, OSError):
            return None
        if max_bytes is not None and len(data) > max_bytes:
            body.close()
            return None
        return data
