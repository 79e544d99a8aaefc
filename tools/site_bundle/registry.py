"""Brings images of a layout into a registry, by the OCI distribution specification 1.0: blobs first, the manifest last.

What a registry has already is not sent again. An image is visible in a registry only when all its blobs are there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from tools.site_bundle.checksums import BundleError
from tools.site_bundle.oci_layout import MANIFEST, Blob, Image, Layout

_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_LONGEST_ERROR: Final = 500
_ACCOUNT: Final = "; name an account with --user and --password-file"


@dataclass(frozen=True, slots=True)
class Address:
    """A registry and a folder in it. url: with its scheme, without the folder. folder: '' for none."""

    url: str
    folder: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `registry.example.com/kizu`; `http://` says that a registry has no TLS.

        Raises:
            BundleError: this is no address of a registry.
        """
        parts = urlsplit(text if "://" in text else f"https://{text}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise BundleError(f"expected a registry such as registry.example.com/kizu, but got {text!r}")
        if parts.username or parts.password:
            raise BundleError("expected a registry without a user and a password in it; give them by their own options")
        return cls(f"{parts.scheme}://{parts.netloc}", parts.path.strip("/"))

    @property
    def name(self) -> str:
        """As an image's reference has it: `registry.example.com/kizu`."""
        host = urlsplit(self.url).netloc
        return f"{host}/{self.folder}" if self.folder else host


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account of the registry."""

    user: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """As HTTP's Basic authentication has it."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class _NoRedirects(HTTPRedirectHandler):
    """An upload goes where the registry said and nowhere else; the account's password least of all."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        return None


@dataclass(slots=True)
class Registry:
    """A registry. credentials: None where it asks for none."""

    address: Address
    credentials: Credentials | None = None
    timeout_s: float = 300.0
    opener: OpenerDirector = field(default_factory=lambda: build_opener(_NoRedirects))
    _authorization: str = field(default="", repr=False)

    def push(self, layout: Layout, image: Image, place: str, tag: str, said: Callable[[str], None]) -> str:
        """Bring an image there; returns its reference by digest.

        place: its name below the registry's folder.

        Raises:
            BundleError: the registry refused something or does not answer, or a blob is damaged.
        """
        repository = f"{self.address.folder}/{place}" if self.address.folder else place
        for blob in layout.blobs_of(image):
            if self._has(repository, blob):
                continue
            said(f"{place}: {blob.size / 1e6:.1f} MB, {blob.digest[:19]}")
            self._upload(repository, blob, layout.blob(blob.digest))
        manifest = layout.blob(image.manifest.digest).read_bytes()
        path = f"/v2/{repository}/manifests/{tag}"
        with self._ask("PUT", path, manifest, {"Content-Type": MANIFEST}, expected=(201,)) as answer:
            got = answer.headers.get("Docker-Content-Digest", image.manifest.digest)
        if got != image.manifest.digest:
            raise BundleError(
                f"{place}: the registry took another manifest: expected {image.manifest.digest}, got {got}"
            )
        return f"{self.address.name}/{place}@{image.manifest.digest}"

    def _has(self, repository: str, blob: Blob) -> bool:
        with self._ask("HEAD", f"/v2/{repository}/blobs/{blob.digest}", expected=(200, 404)) as answer:
            return bool(answer.status == 200)

    def _upload(self, repository: str, blob: Blob, path: Path) -> None:
        start = f"/v2/{repository}/blobs/uploads/"
        with self._ask("POST", start, b"", expected=(202,)) as answer:
            place = answer.headers.get("Location", "")
        if not place:
            raise BundleError(f"{repository}: the registry named no place for an upload")
        url = urljoin(self.address.url + start, place)
        url += ("&" if urlsplit(url).query else "?") + urlencode({"digest": blob.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with self._ask("PUT", url, path, headers, expected=(201,)):
            pass

    def _ask(
        self,
        method: str,
        place: str,
        body: bytes | Path | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        expected: tuple[int, ...],
    ) -> Any:
        """One request, and once more after the registry said how to sign in."""
        url = urljoin(self.address.url, place)
        answer = self._send(method, url, body, headers or {})
        if answer.status == 401:
            with answer:
                signed_in = self._sign_in(answer.headers)
            if not signed_in:
                raise BundleError(f"{method} {url.partition('?')[0]}: the registry answered 401{_ACCOUNT}")
            answer = self._send(method, url, body, headers or {})
        if answer.status in expected:
            return answer
        with answer:
            said = answer.read(_LONGEST_ERROR).decode(errors="replace").strip() if method != "HEAD" else ""
        hint = _ACCOUNT if answer.status in (401, 403) else ""
        raise BundleError(f"{method} {url.partition('?')[0]}: the registry answered {answer.status} {said}{hint}")

    def _send(self, method: str, url: str, body: bytes | Path | None, headers: Mapping[str, str]) -> Any:
        stream = body.open("rb") if isinstance(body, Path) else None
        data: Any = stream or body
        request = Request(url, data, dict(headers), method=method)  # noqa: S310 - Address.parse allows http and https
        if self._authorization and urlsplit(url).netloc == urlsplit(self.address.url).netloc:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            return self.opener.open(request, timeout=self.timeout_s)
        except HTTPError as e:
            return e
        except (URLError, HTTPException, OSError) as e:
            raise BundleError(f"{method} {url.partition('?')[0]}: the registry does not answer: {e}") from e
        finally:
            if stream is not None:
                stream.close()

    def _sign_in(self, headers: Mapping[str, str]) -> bool:
        """Take what the registry asks for: the account itself, or a token that its server gives for it."""
        scheme, _, rest = headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "basic" and self.credentials is not None:
            before, self._authorization = self._authorization, self.credentials.header
            return before != self._authorization
        if scheme.lower() != "bearer":
            return False
        asked = dict(_PARAMETER.findall(rest))
        realm = urlsplit(asked.get("realm", ""))
        if realm.scheme != "https" and (realm.scheme != "http" or self.address.url.startswith("https")):
            raise BundleError(f"the registry sends to {realm.geturl()!r} for a token; expected an https address")
        query = urlencode({name: asked[name] for name in ("service", "scope") if name in asked})
        request = Request(f"{realm.geturl()}?{query}")  # noqa: S310 - the scheme was looked at
        if self.credentials is not None:
            request.add_unredirected_header("Authorization", self.credentials.header)
        try:
            with self.opener.open(request, timeout=self.timeout_s) as answer:
                found = json.load(answer)
            self._authorization = f"Bearer {found.get('token') or found['access_token']}"
        except (HTTPException, OSError, ValueError, KeyError, AttributeError) as e:
            if isinstance(e, HTTPError):
                e.close()
            raise BundleError(f"no token from {realm.geturl()}: {e}") from e
        return True
