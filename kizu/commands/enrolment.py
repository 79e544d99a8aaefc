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
    """What manages the identities: SeaweedFS itself, or the administrator of another store, with policy files."""

    SEAWEEDFS = "seaweedfs"
    POLICY = "policy"


DeviceArgument = Annotated[str, typer.Argument(help="The name of the device, unique among all sites.")]
ProviderOption = Annotated[
    Provider,
    typer.Option("--provider", help="policy: for a store other than SeaweedFS. Its administrator makes the identity."),
]
PolicyFolderOption = Annotated[
    Path, typer.Option("--policies", help="With --provider policy: the folder of the policy files.")
]
_POLICIES = Path("policies")


@app.command()
def enroll(
    device: DeviceArgument,
    site: Annotated[
        str, typer.Option("--site", help="The site of the device. The keys of its images begin with it.")
    ] = "factory",
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="The group of the device. Default: the use case's group.")
    ] = None,
    inspects: Annotated[str, typer.Option("--use-case", "-u", help="The use case: its file or its name.")] = str(
        DEFAULT_USE_CASE
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder of the bundle. Default: ./DEVICE")
    ] = None,
    provider: ProviderOption = Provider.SEAWEEDFS,
    endpoint: Annotated[str | None, typer.Option(help="The S3 URL for the device: https://host:port")] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", help="The PEM file of your own certificate authority, if the endpoint uses it."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="The root.json of `kizu keys init`. Default: this machine's.")
    ] = None,
    camera_folder: Annotated[
        str, typer.Option("--camera-folder", help="The folder on the device that the camera writes to.")
    ] = "camera",
    mqtt_host: Annotated[str | None, typer.Option(help="The line's MQTT broker, as the device reaches it.")] = None,
    mqtt_port: Annotated[int, typer.Option(min=1, max=65535)] = 1883,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="With --provider policy: a JSON file with the key that the administrator made, mode 0600. "
            "Default: KIZU_DEVICE_ACCESS_KEY_ID and KIZU_DEVICE_SECRET_ACCESS_KEY."
        ),
    ] = None,
    policies: PolicyFolderOption = _POLICIES,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make a new key for an enrolled device. Its old key becomes invalid.")
    ] = False,
) -> None:
    """Give a device its own identity and write its bundle: configuration, key, trusted root, CA."""
    from components.enrolment.bundle import Surroundings, enrol
    from components.enrolment.port import DeviceIdentity

    # With a key that was made elsewhere, the store does not have to run.
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
    """Shut a device out: all its keys become invalid at once, and its group no longer counts its last report."""
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
    """Rename the device's report. The device never reports again, so its report would hold back the group's rollout.

    What it told of its line goes: nobody can do anything about a drift of it.
    """
    from components.stores.objects.s3 import ObjectNotFound

    store.delete(bucket, f"{device}/line.json")
    try:
        last = store.get(bucket, f"{device}/reported.json")
    except ObjectNotFound:
        return
    at = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    store.put(bucket, f"{device}/revoked-{at}.json", last, content_type="application/json")
    store.delete(bucket, f"{device}/reported.json")


@app.command()
def enrolled(provider: ProviderOption = Provider.SEAWEEDFS, policies: PolicyFolderOption = _POLICIES) -> None:
    """List the devices that have an identity."""
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
    """Return the name and the group of a use case file, or the name that was given instead of a file and None."""
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
