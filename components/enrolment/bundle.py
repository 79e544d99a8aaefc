"""Write the bundle, the private folder that a device starts with. A bundle exists whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from components.enrolment.port import DeviceIdentity, EnrolmentError, IdentityProvider, Key
from inspection.paths import check_name

CONFIG_FILE: Final = "config.yaml"
CREDENTIALS_FILE: Final = "credentials.json"
ROOT_FILE: Final = "root.json"
CA_FILE: Final = "ca.pem"
FILES: Final = frozenset({CONFIG_FILE, CREDENTIALS_FILE, ROOT_FILE, CA_FILE})
_ENDPOINT: Final = re.compile(r"https?://[^/\s]+")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the bundle tells a device besides its identity.

    Paths are paths on the device, relative to its configuration file.

    endpoint: the S3 address as the device reaches it. root: the signed root metadata that the device pins. ca: the
    certificates in PEM, where the endpoint's certificate comes from a private authority. further: sections of the
    configuration that replace sections of the same name, or are added.

    Raises:
        EnrolmentError: the endpoint, the root metadata or the certificates do not have the expected form.
    """

    group: str
    use_case: str
    endpoint: str
    root: bytes = field(repr=False)
    region: str = "us-east-1"
    addressing: str = "path"
    ca: bytes | None = field(default=None, repr=False)
    camera_folder: str = "camera"
    mqtt_host: str | None = None
    mqtt_port: int = 1883
    further: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("group", self.group)
        check_name("use case", self.use_case)
        if not _ENDPOINT.fullmatch(self.endpoint):
            raise EnrolmentError(f"expected an endpoint like https://host:port, but got {self.endpoint!r}")
        _check_root(self.root)
        if self.ca is not None:
            _check_ca(self.ca)


def _check_root(data: bytes) -> None:
    try:
        kind = json.loads(data)["signed"]["_type"]
    except (ValueError, KeyError, TypeError):
        kind = None
    if kind != "root":
        raise EnrolmentError(
            "expected the signed root metadata that `kizu keys init` made (root.json), but got another"
        )


def _check_ca(data: bytes) -> None:
    if b"PRIVATE KEY" in data:
        raise EnrolmentError("expected certificates alone in the CA file, but it holds a private key too")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as e:
        raise EnrolmentError(f"expected certificates in PEM in the CA file, but: {e}") from e


def configuration(device: DeviceIdentity, surroundings: Surroundings) -> dict[str, Any]:
    """Return the content of the device's configuration file."""
    s3 = {"endpoint": surroundings.endpoint, "region": surroundings.region, "addressing": surroundings.addressing}
    config: dict[str, Any] = {
        "device": device.name,
        "group": surroundings.group,
        "site": device.site,
        "use_case": surroundings.use_case,
        "state_folder": "state",
        "root_metadata": ROOT_FILE,
        "cameras": [{"name": "camera1", "source": "folder", "path": surroundings.camera_folder}],
        "s3": s3 | {"credentials_file": CREDENTIALS_FILE} | ({"ca_file": CA_FILE} if surroundings.ca else {}),
        "buckets": {"prefix": device.bucket_prefix},
    }
    if surroundings.mqtt_host is not None:
        config["mqtt"] = {"host": surroundings.mqtt_host, "port": surroundings.mqtt_port}
    return config | dict(surroundings.further)


def enrol(
    provider: IdentityProvider,
    device: DeviceIdentity,
    surroundings: Surroundings,
    folder: Path,
    *,
    replace: bool = False,
) -> None:
    """Create the identity and write the bundle. Where the bundle cannot be finished, the identity is revoked.

    Args:
        provider: creates the identity.
        device: the device to enrol.
        surroundings: what the bundle tells the device besides its identity.
        folder: the place of the bundle.
        replace: replace an earlier identity and an earlier bundle.

    Raises:
        AlreadyEnrolled: the device has an identity, and `replace` is False.
        EnrolmentError: the folder exists and may not be replaced, or the identity could not be created.
    """
    with _Unfinished(folder, replace=replace) as unfinished:
        unfinished.write_all(device, surroundings)  # before the key, so that a full disk voids no key
        key = provider.create(device, replace=replace)
        try:
            unfinished.finish(key)
        except BaseException as e:
            try:
                provider.revoke(device.name)
            except EnrolmentError as left:
                e.add_note(str(left))
            raise


def rewrite(device: DeviceIdentity, surroundings: Surroundings, folder: Path, key: Key) -> None:
    """Write the bundle again with a key that the device has already.

    Raises:
        EnrolmentError: the folder exists and holds something other than an earlier bundle.
    """
    with _Unfinished(folder, replace=True) as unfinished:
        unfinished.write_all(device, surroundings)
        unfinished.finish(key)


class _Unfinished:
    """An unfinished bundle, in a private temporary folder beside its place. `finish` moves the folder to that place.

    Where the context ends before that, the temporary folder is deleted.
    """

    def __init__(self, folder: Path, *, replace: bool) -> None:
        self._replace = replace
        self._folder = folder.absolute()  # not resolved, so that the target of a link is not replaced
        self._has_to_be_free()
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = Path(tempfile.mkdtemp(prefix=f".{self._folder.name}.", dir=self._folder.parent))  # 0700

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)

    def write_all(self, device: DeviceIdentity, surroundings: Surroundings) -> None:
        """Write all files but the key."""
        config = yaml.safe_dump(configuration(device, surroundings), sort_keys=False, allow_unicode=True)
        self._write(CONFIG_FILE, config.encode())
        self._write(ROOT_FILE, surroundings.root)
        if surroundings.ca is not None:
            self._write(CA_FILE, surroundings.ca)

    def finish(self, key: Key) -> None:
        """Write the key, and move the folder to its place.

        An earlier bundle is deleted before the move, because its key is void by now.
        """
        self._write(CREDENTIALS_FILE, key.to_json())
        _sync(self._temporary)
        if self._has_to_be_free():
            shutil.rmtree(self._folder)
        self._temporary.rename(self._folder)
        _sync(self._folder.parent)

    def _has_to_be_free(self) -> bool:
        """Return True where an earlier bundle exists and may be replaced, False where the place is free.

        Raises:
            EnrolmentError: the place is taken and may not be replaced.
        """
        if not os.path.lexists(self._folder):
            return False
        _check_replaceable(self._folder, self._replace)
        return True

    def _write(self, name: str, data: bytes) -> None:
        descriptor = os.open(self._temporary / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


def _check_replaceable(folder: Path, replace: bool) -> None:
    if not replace:
        raise EnrolmentError(f"{folder} is there already; choose another --output, or --replace")
    if folder.is_symlink() or not folder.is_dir():
        raise EnrolmentError(f"expected {folder} to be a folder, but it is not; choose another --output")
    others = sorted({entry.name for entry in folder.iterdir()} - FILES)
    if others:
        raise EnrolmentError(
            f"expected nothing but an earlier bundle in {folder}, but it holds {', '.join(others[:3])}; "
            "choose another --output"
        )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
