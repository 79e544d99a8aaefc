"""Checks an installation with the settings of one identity. No check relies on another.

No check changes anything, but for one: the check of conditional writes keeps one small object in the state bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import httpx
from botocore.exceptions import BotoCoreError, ClientError

from components.settings import Settings, SettingsError
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore, client_config
from components.stores.raw_images.columns import list_columns
from components.stores.raw_images.listing import RawListing
from inspection.paths import parse_raw_key
from kizu.sources import misplaced

# The labeling identity has rights in these buckets only, so only these can be checked.
BUCKETS: Final = ("raw", "labels", "state")
ROOT_WARNING: Final = timedelta(days=60)
_TIMEOUT_S: Final = 10.0
_PROBE: Final = "doctor/conditional-write"
# An origin that nobody uses. If the store lets it read, every web page can read what a labeler's browser can read.
_FOREIGN_ORIGIN: Final = "https://elsewhere.invalid"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. said: what is in order, or what was expected, what came, and what to do."""

    check: str
    ok: bool
    said: str


class _Failed(Exception):
    """A check found a fault. The message is for the user."""


def diagnose(
    config: Settings,
    *,
    origin: str | None = None,
    timeout_s: float = _TIMEOUT_S,
    sources: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Finding]:
    """Run all checks in order, and yield the result of each.

    Args:
        config: the settings of the labeling identity.
        origin: Label Studio as a browser calls it; by default from the settings.
        timeout_s: the timeout of each request, in seconds.
        sources: use case -> its sources, for all use cases of the installation; None leaves this check out.
    """
    look = _Look(config, origin, timeout_s)
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("S3 answers this identity", look.s3),
        *((f"bucket {config.bucket(name)}", partial(look.bucket, name)) for name in BUCKETS),
        (f"{config.bucket('raw')} keeps versions", look.versioning),
        ("S3 keeps the condition of a write", look.conditional_writes),
        ("Label Studio", look.label_studio),
        ("a picture's signed URL opens", look.signed_url),
        ("S3 lets Label Studio's pages show pictures (CORS)", look.cors),
        ("S3 lets no other page read them (CORS)", look.cors_of_others),
        ("MLflow", look.mlflow),
        ("signer", look.signer),
    )
    if sources is not None:
        checks += (("each image belongs to one use case", partial(look.sources, sources)),)
    for name, check in checks:
        try:
            yield Finding(name, True, check())
        except (_Failed, SettingsError) as e:
            yield Finding(name, False, str(e))
        except ObjectStoreError as e:
            yield Finding(name, False, f"{e}; check KIZU_S3_ENDPOINT, the keys and the rights of this identity")
        except httpx.HTTPError as e:
            yield Finding(name, False, f"no answer ({type(e).__name__}: {e}); is it running, and is the URL right?")
        except (ClientError, BotoCoreError) as e:
            yield Finding(name, False, f"{e}; check KIZU_S3_ENDPOINT, the keys and the rights of this identity")


class _Look:
    def __init__(self, config: Settings, origin: str | None, timeout_s: float) -> None:
        self._config = config
        self._origin = origin
        self._timeout_s = timeout_s
        self._verify: Any = True
        if config.s3_ca_file:
            import ssl

            self._verify = ssl.create_default_context(cafile=config.s3_ca_file)
        secret, token = config.secret_access_key, config.session_token
        self._s3 = self._client(
            config.s3_endpoint,
            config.access_key_id,
            secret.get_secret_value() if secret else None,
            token.get_secret_value() if token else None,
        )

    def s3(self) -> str:
        # This check finds an unknown key or a wrong clock. The check of each bucket finds missing rights.
        try:
            self._s3.list_objects_v2(Bucket=self._config.bucket("raw"), MaxKeys=1)
        except ClientError as e:
            code = _code(e)
            if code in (
                "InvalidAccessKeyId",
                "SignatureDoesNotMatch",
                "RequestTimeTooSkewed",
                "AuthorizationHeaderMalformed",
            ):
                raise _Failed(
                    f"it refuses the key ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, KIZU_S3_REGION "
                    "and this machine's clock"
                ) from e
        return self._config.s3_endpoint or "the default endpoint"

    def bucket(self, name: str) -> str:
        bucket = self._config.bucket(name)
        try:
            found = self._s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except ClientError as e:
            if _code(e) == "NoSuchBucket":
                raise _Failed("it is not there; make it with: kizu up, or python -m deploy.k8s.buckets") from e
            if _code(e) == "AccessDenied":
                raise _Failed("this identity may not list it, or it is not there; check its rights") from e
            raise
        return "readable" if found.get("KeyCount") else "readable, and empty"

    def versioning(self) -> str:
        bucket = self._config.bucket("raw")
        try:
            status = self._s3.get_bucket_versioning(Bucket=bucket).get("Status")
        except ClientError as e:
            if _code(e) != "AccessDenied":
                raise
            # A store may answer this to its administrator only. The version of an object shows the same.
            listed = self._s3.list_object_versions(Bucket=bucket, MaxKeys=1).get("Versions", [])
            if not listed:
                raise _Failed("this identity may not read it, and no object shows it; import one image") from e
            status = "Enabled" if listed[0].get("VersionId") not in (None, "null") else "off"
        if status != "Enabled":
            raise _Failed(
                f"expected versioning Enabled, but it is {status or 'off'}: an image could be lost by overwriting; "
                "run kizu up, or python -m deploy.k8s.buckets"
            )
        return "enabled"

    def conditional_writes(self) -> str:
        """Write one object three times: as it may be, and twice under a condition that does not hold."""
        where = {"Bucket": self._config.bucket("state"), "Key": _PROBE}
        self._s3.put_object(**where, Body=b"kizu doctor")
        for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0123456789abcdef0123456789abcdef"'}):
            (header,) = condition
            try:
                self._s3.put_object(**where, Body=b"kizu doctor", **condition)
            except ClientError as e:
                if _code(e) in ("PreconditionFailed", "412"):
                    continue
                raise
            raise _Failed(
                f"expected the store to refuse a write whose condition ({header}) does not hold, but it wrote: two "
                "runs at once would both hold a claim. Use a version of the store, or another store, that keeps it"
            )
        return "kept"

    def label_studio(self) -> str:
        url = self._config.required("label_studio_url").rstrip("/")
        token = self._config.required("label_studio_api_key")
        answer = httpx.get(
            f"{url}/api/current-user/whoami",
            headers={"Authorization": f"Token {token}"},
            timeout=self._timeout_s,
            follow_redirects=True,
        )
        if answer.status_code in (401, 403):
            raise _Failed(f"{url} refuses the token; set LABEL_STUDIO_API_KEY to the token of one of its accounts")
        email = _json(answer, f"{url}/api/current-user/whoami").get("email")
        return f"{url}, as {email}"

    def signed_url(self) -> str:
        url, stored = self._signed()
        answer = httpx.get(url, headers={"Range": "bytes=0-0"}, timeout=self._timeout_s, verify=self._verify)
        if answer.status_code == 403:
            raise _Failed(
                f"{_host(url)} refuses it; check LABEL_STUDIO_S3_ACCESS_KEY_ID, LABEL_STUDIO_S3_SECRET_ACCESS_KEY and "
                "their right to read the bucket, and that no proxy on the way changes the host name"
            )
        if stored and answer.status_code in (200, 206):
            return f"at {_host(url)}"
        if not stored and answer.status_code == 404 and "NoSuchKey" in answer.text:
            return f"{_host(url)} accepts the signature; there is no image yet"
        raise _Failed(f"{_host(url)} answered {answer.status_code}; is KIZU_S3_PUBLIC_ENDPOINT the same store?")

    def cors(self) -> str:
        origin = self._browser_origin()
        for allowed, answer in self._asked(origin):
            if allowed not in (origin, "*"):
                raise _Failed(
                    f"expected Access-Control-Allow-Origin {origin}, but got {allowed!r} ({answer.status_code}); run "
                    f"kizu up, or python -m deploy.k8s.buckets --allow-origin {origin}"
                )
        return f"for {origin}"

    def cors_of_others(self) -> str:
        for allowed, _ in self._asked(_FOREIGN_ORIGIN):
            if allowed in (_FOREIGN_ORIGIN, "*"):
                raise _Failed(
                    f"a page of {_FOREIGN_ORIGIN} may read them, too; name only Label Studio's origin in the bucket's "
                    "CORS rule, and check that the store itself has no wider rule"
                )
        return "refused"

    def sources(self, sources: Mapping[str, Sequence[str]]) -> str:
        listing = RawListing(S3ObjectStore.from_settings(self._config), self._config.bucket("raw"))
        devices = listing.devices()
        wrong = misplaced(sources, devices, lambda name: int(list_columns(listing, listing.spans([name]))[0].num_rows))
        if wrong:
            raise _Failed(f"{'; '.join(wrong)}; name the sources (site/device) of each product in its use case file")
        return f"{len(devices)} devices and imports, {len(sources)} use cases"

    def mlflow(self) -> str:
        uri = self._config.required("mlflow_tracking_uri").rstrip("/")
        answer = httpx.get(f"{uri}/health", timeout=self._timeout_s)
        if answer.status_code != 200:
            raise _Failed(f"{uri}/health answered {answer.status_code}; see its log. Labeling works without pre-labels")
        from components.stores.models.registry import ModelRegistry, ModelRegistryError

        try:
            ModelRegistry(uri).versions("doctor")
        except ModelRegistryError as e:
            raise _Failed(f"{e}; check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") from e
        return uri

    def signer(self) -> str:
        uri = self._config.required("signer_url").rstrip("/")
        from components.stores.releases.signer_client import SignerError, tls_of

        try:
            tls = tls_of(self._config)
        except SignerError as e:
            raise _Failed(str(e)) from e
        answer = httpx.get(f"{uri}/healthz", timeout=self._timeout_s, verify=tls or True)
        if answer.status_code != 200:
            raise _Failed(f"{uri}/healthz answered {answer.status_code}: {answer.text[:300]}; see its log")
        try:
            root = datetime.fromisoformat(answer.json()["expires"]["root"])
        except (ValueError, KeyError, TypeError):  # it has just started, or is of an earlier version
            return uri
        if (warning := root_expires_soon(root, datetime.now(UTC))) is not None:
            raise _Failed(warning)
        return f"{uri}, root valid until {root:%Y-%m-%d}"

    def _asked(self, origin: str) -> Iterator[tuple[str | None, httpx.Response]]:
        """Yield the origin that the store allows, and its answer, for a preflight request and for a GET."""
        url, _ = self._signed()
        before = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        for method, headers in (("OPTIONS", before), ("GET", {"Origin": origin, "Range": "bytes=0-0"})):
            answer = httpx.request(method, url, headers=headers, timeout=self._timeout_s, verify=self._verify)
            yield answer.headers.get("Access-Control-Allow-Origin"), answer

    def _browser_origin(self) -> str:
        config = self._config
        url = self._origin or config.label_studio_public_url or config.required("label_studio_url")
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}"

    def _signed(self) -> tuple[str, bool]:
        """Return an image's URL, signed as Label Studio signs it for a browser, and whether the image exists."""
        config = self._config
        client = self._client(
            config.s3_public_endpoint or config.s3_endpoint,
            config.required("label_studio_s3_access_key_id"),
            config.required("label_studio_s3_secret_access_key"),
        )
        bucket = config.bucket("raw")
        listed = self._s3.list_objects_v2(Bucket=bucket, MaxKeys=50).get("Contents", [])
        parsed = ((item["Key"], parse_raw_key(item["Key"])) for item in listed)
        pictures = [name for name, parts in parsed if parts is not None and parts.capture_id is None]
        key = pictures[0] if pictures else "kizu-doctor-asks-for-what-is-not-there"
        url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)
        return str(url), bool(pictures)

    def _client(self, endpoint: str | None, key: str | None, secret: str | None, token: str | None = None) -> Any:
        config = self._config
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=config.s3_region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            verify=config.s3_ca_file,
            config=client_config(
                config.s3_addressing,
                attempts=1,
                signature_version="s3v4",
                connect_timeout=self._timeout_s,
                read_timeout=self._timeout_s,
            ),
        )


def root_expires_soon(root: datetime, now: datetime) -> str | None:
    """What to do about a root that expires in less than 60 days, or has expired; None where it is valid for longer."""
    if root - now >= ROOT_WARNING:
        return None
    return (
        f"the root of releases {'expires' if root > now else 'expired'} on {root:%Y-%m-%d}; devices then take no new "
        "release. Bring the root key and run: kizu keys rotate root"
    )


def _json(answer: httpx.Response, url: str) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.status_code != 200 or not isinstance(body, dict):
        raise _Failed(f"{url} answered {answer.status_code} and not as Label Studio does; check LABEL_STUDIO_URL")
    return body


def _host(url: str) -> str:
    return urlsplit(url).netloc  # without the query, which contains the signature


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
