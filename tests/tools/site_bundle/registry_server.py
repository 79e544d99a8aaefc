"""A registry that speaks the OCI distribution protocol, in memory. It can ask for an account.

`keeps=False`: it compares blobs with their digests and forgets them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

BASIC, BEARER, OPEN = "basic", "bearer", "open"
ACCOUNT = ("kizu", "secret")
_TOKEN = "token-of-the-test"


class RegistryServer(ThreadingHTTPServer):
    """blobs: digest -> bytes. manifests: (repository, tag or digest) -> bytes. asked: methods and paths, in order."""

    daemon_threads = False  # each connection is closed before a test ends

    def __init__(self, access: str, *, keeps: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.access, self.keeps = access, keeps
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: RegistryServer
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *args: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        if self._may():
            digest = self.path.rpartition("/")[2]
            self._answer(200 if digest in self.server.blobs else 404)

    def do_GET(self) -> None:
        if self.path.startswith("/token"):
            right = self.headers.get("Authorization") == _basic()
            self._answer(200 if right else 401, json.dumps({"token": _TOKEN}).encode() if right else b"")
        elif self._may():
            self._answer(200)

    def do_POST(self) -> None:
        if self._may():
            self._answer(202, headers={"Location": f"{self.path}one?state=1"})

    def do_PUT(self) -> None:
        data, digest = self._received()
        if not self._may():
            return
        parts = urlsplit(self.path)
        if "/blobs/uploads/" in parts.path:
            if parse_qs(parts.query)["digest"] != [digest]:
                self._answer(400, b"DIGEST_INVALID")
                return
            self.server.blobs[digest] = data
        else:
            repository, _, tag = parts.path.removeprefix("/v2/").partition("/manifests/")
            document = json.loads(data)
            needed = {each["digest"] for each in (document["config"], *document["layers"])}
            if not needed <= set(self.server.blobs):
                self._answer(404, b"MANIFEST_BLOB_UNKNOWN")
                return
            self.server.manifests[repository, tag] = self.server.manifests[repository, digest] = data
        self._answer(201, headers={"Docker-Content-Digest": digest})

    def _received(self) -> tuple[bytes, str]:
        left, total, kept = int(self.headers.get("Content-Length", 0)), hashlib.sha256(), []
        whole = self.server.keeps or "/manifests/" in self.path
        while left and (chunk := self.rfile.read(min(left, 1 << 20))):
            left -= len(chunk)
            total.update(chunk)
            if whole:
                kept.append(chunk)
        return b"".join(kept), f"sha256:{total.hexdigest()}"

    def _may(self) -> bool:
        self.server.asked.append(f"{self.command} {self.path}")
        given = self.headers.get("Authorization", "")
        if self.server.access == OPEN or given == {BASIC: _basic(), BEARER: f"Bearer {_TOKEN}"}[self.server.access]:
            return True
        challenge = 'Basic realm="registry"'
        if self.server.access == BEARER:
            challenge = f'Bearer realm="{self.server.url}/token",service="registry",scope="repository:x:pull,push"'
        self._answer(401, headers={"WWW-Authenticate": challenge})
        return False

    def _answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        if self.command in ("POST",):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _basic() -> str:
    return "Basic " + base64.b64encode(":".join(ACCOUNT).encode()).decode()


@contextmanager
def running(access: str = OPEN, *, keeps: bool = True) -> Iterator[RegistryServer]:
    with RegistryServer(access, keeps=keeps) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
