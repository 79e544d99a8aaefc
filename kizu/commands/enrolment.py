"""`kizu enroll`, `kizu revoke`, `kizu enrolled`: devices and their identities."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.table import Table

from kizu.context import DEFAULT_USE_CASE, CommandError, console, layout, settings_as, use_case

app = typer.Typer()


class Provider(StrEnum):
    """Who keeps the identities: SeaweedFS itself, or the administrator of another store, from policy files."""

    SEAWEEDFS = "seaweedfs"
    POLICY = "policy"


DeviceArgument = Annotated[str, typer.Argument(help="The device's name, its own among all sites.")]
ProviderOption = Annotated[
    Provider,
    typer.Option(
        "--provider", help="policy: for a store other than SeaweedFS, whose administrator makes the identity."
    ),
]
PolicyFolderOption = Annotated[Path, typer.Option("--policies", help="With --provider policy: one policy a device.")]
_POLICIES = Path("policies")


@app.command()
def enroll(
    device: DeviceArgument,
    site: Annotated[str, typer.Option("--site", help="Where it stands; its images go below this name.")] = "factory",
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="The devices it is rolled out with; the use case's by default.")
    ] = None,
    inspects: Annotated[str, typer.Option("--use-case", "-u", help="The use case: its file, or its name alone.")] = str(
        DEFAULT_USE_CASE
    ),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The bundle's folder; ./DEVICE else.")] = None,
    provider: ProviderOption = Provider.SEAWEEDFS,
    endpoint: Annotated[str | None, typer.Option(help="S3 as the device reaches it: https://host:port")] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", help="PEM, where that endpoint's certificate is from your own authority."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="root.json, as `kizu keys init` made it; this machine's by default.")
    ] = None,
    camera_folder: Annotated[
        str, typer.Option("--camera-folder", help="On the device: where the camera puts its files.")
    ] = "camera",
    mqtt_host: Annotated[str | None, typer.Option(help="The line's broker, as the device reaches it.")] = None,
    mqtt_port: Annotated[int, typer.Option(min=1, max=65535)] = 1883,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="With --provider policy: the key that was made, JSON, mode 0600. "
            "Else KIZU_DEVICE_ACCESS_KEY_ID and KIZU_DEVICE_SECRET_ACCESS_KEY."
        ),
    ] = None,
    policies: PolicyFolderOption = _POLICIES,
    replace: Annotated[
        bool, typer.Option("--replace", help="A new key for a device that has one; the old one is shut out.")
    ] = False,
) -> None:
    """Give a device an identity of its own and write its bundle: configuration, key, root, CA."""
    from components.enrolment.bundle import Surroundings, enrol
    from components.enrolment.port import DeviceIdentity

    # A key that was made elsewhere needs no store to be up.
    config = _settings(needs_store=provider is Provider.SEAWEEDFS)
    named, usual_group = _use_case(inspects)
    wanted_group = group or usual_group
    if wanted_group is None:
        raise CommandError("expected --group, or --use-case with a file that names one")
    reached = (endpoint or config.s3_public_endpoint or config.s3_endpoint or "").rstrip("/")
    authority = ca_file or (Path(config.s3_ca_file) if config.s3_ca_file else None)
    surroundings = Surroundings(
        group=wanted_group,
        use_case=named,
        endpoint=reached,
        region=config.s3_region,
        addressing="virtual" if config.s3_addressing == "virtual" else "path",
        root=_read(root or layout().keys / "root.json", "the root that it pins (--root)"),
        ca=_read(authority, "the CA file") if authority else None,
        camera_folder=camera_folder,
        mqtt_host=mqtt_host,
        mqtt_port=mqtt_port,
    )
    folder = output or Path(device)
    identity = DeviceIdentity(device, site, config.bucket_prefix)
    enrol(_provider(provider, config, policies, key_file), identity, surroundings, folder, replace=replace)
    console.print(
        f"{device} is enrolled: site {site}, group {wanted_group}, use case {named}\n"
        f"its bundle: {folder} (it holds its key: bring it to the device and nowhere else)\n"
        f"there: kizu-edge selftest --config {folder.name}/config.yaml",
        highlight=False,
        soft_wrap=True,
    )
    if (urlsplit(reached).hostname or "") in ("127.0.0.1", "localhost", "::1"):
        console.print(f"{reached} is this machine only; a device elsewhere needs --endpoint", highlight=False)


@app.command()
def revoke(
    device: DeviceArgument, provider: ProviderOption = Provider.SEAWEEDFS, policies: PolicyFolderOption = _POLICIES
) -> None:
    """Shut a device out: all its keys are void at once, and its last report no longer counts for its group."""
    from components.stores.objects.s3 import S3ObjectStore

    config = _settings(needs_store=True)
    identities = _provider(provider, config, policies, None)
    was_in = identities.revoke(device)
    store, fleet = S3ObjectStore.from_settings(config), config.bucket("fleet")
    known = was_in or any(True for _ in store.list(fleet, f"{device}/"))
    if not known:
        names = ", ".join(found.name for found in identities.devices()) or "none"
        raise CommandError(f"{device} is not enrolled and never reported, so it has no access; enrolled: {names}")
    _set_report_aside(store, fleet, device)
    console.print(
        f"{device} is out: its keys are void" if was_in else f"{device} was out already", highlight=False, markup=False
    )


def _set_report_aside(store: Any, bucket: str, device: str) -> None:
    """A device that will never report again would hold its group's rollout back for ever."""
    from components.stores.objects.s3 import ObjectNotFound

    try:
        last = store.get(bucket, f"{device}/reported.json")
    except ObjectNotFound:
        return
    at = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    store.put(bucket, f"{device}/revoked-{at}.json", last, content_type="application/json")
    store.delete(bucket, f"{device}/reported.json")


@app.command()
def enrolled(provider: ProviderOption = Provider.SEAWEEDFS, policies: PolicyFolderOption = _POLICIES) -> None:
    """The devices that have an identity."""
    found = _provider(provider, _settings(needs_store=provider is Provider.SEAWEEDFS), policies, None).devices()
    if not found:
        console.print("no device is enrolled")
        return
    table = Table(box=None)
    for column in ("device", "site", "keys"):
        table.add_column(column)
    for device in found:
        table.add_row(device.name, device.site or "-", ", ".join(device.access_keys) or "-")
    console.print(table)


def _settings(*, needs_store: bool) -> Any:
    from components.settings import settings

    return settings_as("admin") if needs_store else settings()


def _provider(kind: Provider, config: Any, policies: Path, key_file: Path | None) -> Any:
    from components.enrolment.policy_files import PolicyFiles, read_key_file
    from components.enrolment.port import Key
    from components.enrolment.seaweedfs import SeaweedFSIdentities

    if kind is Provider.SEAWEEDFS:
        if key_file is not None:
            raise CommandError("--key-file goes with --provider policy: SeaweedFS makes its keys itself")
        return SeaweedFSIdentities.from_settings(config)
    key = read_key_file(key_file) if key_file else None
    if key is None and config.device_access_key_id:
        key = Key(config.device_access_key_id, config.required("device_secret_access_key"))
    return PolicyFiles(policies, key)


def _use_case(text: str) -> tuple[str, str | None]:
    """A file's name and group, or a name alone."""
    path = Path(text)
    if path.suffix in (".yaml", ".yml", ".json"):
        loaded = use_case(path)
        return loaded.name, loaded.rollout.group
    return text, None


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise CommandError(f"cannot read {what} at {path}: {e.strerror}") from e
