"""`kizu backup`: both databases and all buckets, copied elsewhere and brought back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kizu.context import CommandError, console, is_configured, layout, of_this_machine, settings_as, settings_here

if TYPE_CHECKING:
    from components.settings import Settings
    from deploy.backup.targets import Shelf

app = typer.Typer(
    no_args_is_help=True,
    help="Copy both databases and all buckets elsewhere, and bring them back. Keys and passwords are not in it.",
)
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", help="A folder, or s3://bucket/folder of another store. Default: KIZU_BACKUP_TARGET."
    ),
]
DatabaseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--database", "-d",
        help="NAME=PLACE, for mlflow and label-studio: postgresql://…, or a file of SQLite or of pg_dump. "
        "Default: the files of this machine.",
    ),
]  # fmt: skip
BackupArgument = Annotated[str, typer.Argument(help="As `kizu backup list` shows it; `newest`.")]


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def create(
    target: TargetOption = None,
    database: DatabaseOption = None,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Remove all but this many afterwards. Default: KIZU_BACKUP_KEEP, else none."),
    ] = None,
) -> None:
    """Make a backup while the servers run. Only what the target does not have is copied.

    On a cluster a CronJob does it every night. A call that is interrupted leaves no backup; run it again.
    """
    from deploy.backup.buckets import Buckets
    from deploy.backup.creating import Making

    config = settings_as("backup")
    buckets = Buckets.from_settings(config)
    try:
        making = Making(buckets, _shelf(config, target), _databases(database), _say)
        made = making.make(keep=keep or config.backup_keep)
    finally:
        buckets.close()
    _say(f"{made.id} is whole: {made.bytes} bytes")


@app.command("list")
def list_backups(target: TargetOption = None) -> None:
    """Show the backups that are there, the oldest first."""
    shelf = _shelf(_settings(), target)
    for backup in shelf.ids():
        manifest = shelf.manifest(backup)
        objects = sum(part.objects for part in manifest.buckets)
        names = ", ".join(f"{part.name} ({part.form})" for part in manifest.databases) or "no database"
        _say(f"{backup}  {objects} objects, {manifest.bytes} bytes; {names}")


@app.command()
def verify(backup: BackupArgument = "newest", target: TargetOption = None) -> None:
    """Read everything that a backup names, and compare digests. Ends with 1 if something is missing or damaged."""
    from deploy.backup.restoring import verify as look

    shelf = _shelf(_settings(), target)
    manifest = shelf.manifest(_name(shelf, backup))
    wrong = look(shelf, manifest)
    for line in wrong[:20]:
        _say(line)
    if wrong:
        raise CommandError(f"{manifest.id}: {len(wrong)} files are missing or damaged; restore another one")
    _say(f"{manifest.id}: everything is there, and has the digests of its manifest")


@app.command()
def restore(
    backup: BackupArgument,
    target: TargetOption = None,
    database: DatabaseOption = None,
    over: Annotated[
        bool, typer.Option("--over", help="Put it over what is there. What the backup does not have stays.")
    ] = False,
) -> None:
    """Bring a backup back into an empty installation. The servers must be stopped.

    On this machine: after `kizu down`; the command runs the store by itself. For a cluster, KIZU_S3_ENDPOINT and the
    administrator's key name the store, and --database each database.
    """
    from deploy.backup.buckets import Buckets
    from deploy.backup.restoring import Restoring

    with _store_for_a_restore() as config:
        shelf = _shelf(config, target)
        manifest = shelf.manifest(_name(shelf, backup))
        buckets = Buckets.from_settings(config)
        try:
            Restoring(buckets, shelf, _databases(database), _say).restore(manifest, over=over)
        finally:
            buckets.close()
    _say(f"{manifest.id} is restored. Start the servers, and then: kizu keys recover, for each use case with a release")


@contextmanager
def _store_for_a_restore() -> Iterator[Settings]:
    if is_configured():
        yield _settings()
        return
    from deploy.access.identities import load

    with of_this_machine("deploy.local.store_alone").store_alone(layout()):
        key = load(layout())["s3"]["admin"]
        yield settings_here("backup").model_copy(
            update={"access_key_id": key["access_key"], "secret_access_key": _secret(key["secret_key"])}
        )


def _settings() -> Settings:
    from components.settings import settings

    return settings()


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


def _shelf(config: Settings, target: str | None) -> Shelf:
    from components.stores.objects.s3 import S3ObjectStore
    from deploy.backup.targets import FolderTarget, Shelf, StoreTarget

    place = target or config.backup_target
    if not place:
        raise CommandError("expected where backups are kept: --target, or KIZU_BACKUP_TARGET")
    if not place.startswith("s3://"):
        return Shelf(FolderTarget(Path(place).expanduser().resolve()))
    bucket, _, folder = place.removeprefix("s3://").partition("/")
    if not bucket:
        raise CommandError(f"expected s3://bucket/folder, but got {place!r}")
    secret = config.backup_secret_access_key
    store = S3ObjectStore(
        config.backup_s3_endpoint,
        config.backup_s3_region,
        config.backup_access_key_id,
        secret.get_secret_value() if secret else None,
        addressing=config.backup_s3_addressing,
        ca_file=config.backup_s3_ca_file,
    )
    return Shelf(StoreTarget(store, bucket, f"{folder.strip('/')}/" if folder.strip("/") else ""))


def _databases(given: Sequence[str] | None) -> dict[str, str]:
    if given is None:
        if is_configured():
            raise CommandError("expected --database mlflow=… and --database label-studio=…: where the databases are")
        home = layout().home
        return {
            "mlflow": str(home / "mlflow" / "mlflow.db"),
            "label-studio": str(home / "label-studio" / "label_studio.sqlite3"),
        }
    found = {}
    for item in given:
        name, separator, place = item.partition("=")
        if not separator or name not in ("mlflow", "label-studio") or not place or name in found:
            raise CommandError(
                "expected --database mlflow=PLACE or label-studio=PLACE, each once"
            )  # it may be a password
        found[name] = place
    return found


def _name(shelf: Shelf, backup: str) -> str:
    if backup != "newest":
        return backup
    ids = shelf.ids()
    if not ids:
        raise CommandError("there is no backup")
    return ids[-1]
