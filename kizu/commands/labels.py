"""`kizu labels …`: shows and maintains the label store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as, use_case

labels_app = typer.Typer(no_args_is_help=True, help="Show and maintain the label store.")


@labels_app.command()
def version(
    at: Annotated[
        str | None, typer.Option("--at", help="A time in ISO 8601, UTC if it names no zone. Default: now.")
    ] = None,
) -> None:
    """Show the store's version, now or at a time, for `kizu train --label-version`. -1: before the first label."""
    from components.stores.labels.store import LabelStore

    labels = LabelStore.open(settings_as("labeling"))
    console.print(labels.version() if at is None else labels.version_at(_time(at)), highlight=False)


@labels_app.command()
def look(
    inspects: UseCaseOption = DEFAULT_USE_CASE,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="List everything, not only what is new. This finds images that an earlier scan missed."
        ),
    ] = False,
) -> None:
    """Count the images without an approved label, and remember them for the next labeling run."""
    from components.labeling.candidates import find_candidates, memories
    from components.stores.labels.store import LabelStore
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.raw_images.images import RawImages

    config = settings_as("labeling")
    chosen = use_case(inspects)
    name = chosen.name
    store = S3ObjectStore.from_settings(config)
    found = find_candidates(
        name,
        RawImages(store, config.bucket("raw")),
        LabelStore.open(config),
        memories(store, config.bucket("state"), name),
        full=full,
        sources=chosen.sources,
    )
    console.print(
        f"{found.known} images; {len(found)} without an approved label for {name}, "
        f"of which {len(found.waiting)} wait for the verifier; besides, {found.imported} have imported boxes that wait "
        f"for the verifier, and {found.unusable} are set aside as unusable",
        highlight=False,
    )


@labels_app.command()
def compact() -> None:
    """Join the store's small files into large ones. The labels do not change. Run it from time to time."""
    from components.stores.labels.store import LabelStore
    from components.stores.labels.upkeep import compact as compact_store

    done = compact_store(LabelStore.open(settings_as("labeling")))
    console.print(
        f"version {done.version}: {done.files_removed} files became {done.files_added}; "
        "the old ones stay until: kizu labels vacuum",
        highlight=False,
    )


@labels_app.command()
def vacuum(
    retention_days: Annotated[
        float, typer.Option("--retention-days", help="Keep files that were in use during so many days.", min=1 / 24)
    ] = 7.0,
    keep: Annotated[
        list[int] | None, typer.Option("--keep", help="Also keep this version. Can be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the files that would be removed.")] = False,
) -> None:
    """Remove files that neither the present version nor the version of a dataset needs. The log is never removed."""
    from components.stores.labels.store import LabelStore
    from components.stores.labels.upkeep import vacuum as vacuum_store
    from components.stores.labels.versions import label_versions
    from components.stores.objects.s3 import S3ObjectStore

    config = settings_as("labeling")
    labels = LabelStore.open(config)
    mark = labels.mark()
    used = label_versions(S3ObjectStore.from_settings(config), config.bucket("datasets"), mark.table_id)
    done = vacuum_store(labels, {*used, *(keep or ())}, retention=timedelta(days=retention_days), dry_run=dry_run)
    kept = ", ".join(str(number) for number in done.kept_versions) or "none"
    console.print(
        f"{len(done.files)} files {'would go' if dry_run else 'are gone'}; "
        f"versions kept besides the present one: {kept}",
        highlight=False,
    )


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as e:
        raise CommandError(f"expected a time such as 2026-03-01T12:00:00+09:00, but got {text!r}") from e
    return time if time.tzinfo else time.replace(tzinfo=UTC)
