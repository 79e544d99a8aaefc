"""Fetches a file by its SHA-256. A fetch that was stopped goes on where it ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tools.site_bundle.checksums import BundleError, sha256_of

_CHUNK: Final = 1 << 20
_TRIES: Final = 4
_TIMEOUT_S: Final = 60.0

Open = Callable[[Request], Any]


def _open(request: Request) -> Any:
    return urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - `fetch` looks at the scheme


def fetch(
    url: str, sha256: str, target: Path, open_url: Open = _open, wait: Callable[[float], None] = time.sleep
) -> bool:
    """Have a file at `target`; False where it was there already.

    Raises:
        BundleError: the server does not answer, or its bytes are others.
        OSError: it cannot be written.
    """
    if target.is_file() and sha256_of(target) == sha256:
        return False
    if urlsplit(url).scheme not in ("http", "https"):
        raise BundleError(f"expected an address of http or https, but got {url}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    for attempt in range(1, _TRIES + 1):
        try:
            _go_on(url, part, open_url)
        except (HTTPException, OSError) as e:
            if isinstance(e, HTTPError):
                e.close()
            if attempt == _TRIES:
                raise BundleError(f"cannot fetch {url}: {e}; run the same command again to go on") from e
            wait(2.0**attempt)
            continue
        if sha256_of(part) == sha256:
            part.replace(target)
            return True
        part.unlink()  # the end of another file: from the beginning
    raise BundleError(f"{url}: expected a file with the SHA-256 {sha256}, but got another one {_TRIES} times")


def _go_on(url: str, part: Path, open_url: Open) -> None:
    begun = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})  # noqa: S310 - see `fetch`
    try:
        answer = open_url(request)
    except HTTPError as e:
        if e.code != 416:  # nothing is left to send: all of it is there, or more than all
            raise
        e.close()
        return
    with answer, part.open("ab" if answer.status == 206 else "wb") as stream:
        while chunk := answer.read(_CHUNK):
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())
