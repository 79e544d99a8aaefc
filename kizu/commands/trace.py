"""`kizu trace`: shows the lineage of a device, a release or an image, down to the people who labelled, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kizu.context import CommandError, is_on_this_machine, layout, settings_as

app = typer.Typer()


@app.command()
def trace(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A device, an image (sha256 or s3://…), a release, a dataset, MODEL/VERSION, or a run of MLflow.",
        ),
    ],
    labels: Annotated[bool, typer.Option("--labels", help="Show each label of a dataset, not only counts.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lineage as JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Also write a drawing of the graph to this file.")] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            envvar="KIZU_RELEASE_ROOT",
            help="The trusted root.json that `kizu keys init` made. This machine's by default; signatures of releases "
            "are verified with it.",
        ),
    ] = None,
) -> None:
    """Show where something comes from, down to who drew and verified the labels, and where it went.

    It changes nothing.
    """
    config = settings_as("auditor", "mlflow")
    from components.lineage.published_releases import PublishedReleases
    from components.lineage.question import NothingKnown
    from components.lineage.question import trace as find
    from components.lineage.sources import Sources
    from components.lineage.svg import to_svg
    from components.lineage.text import to_text
    from components.stores.fleet.reports import FleetReports
    from components.stores.labels.store import LabelStore
    from components.stores.models.registry import ModelRegistry
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.raw_images.images import RawImages

    store = S3ObjectStore.from_settings(config)
    sources = Sources(
        store,
        config.bucket("datasets"),
        RawImages(store, config.bucket("raw")),
        LabelStore.open(config),
        PublishedReleases(store, config.bucket("releases"), _trusted_root(root)),
        ModelRegistry.from_settings(config),
        FleetReports(store, config.bucket("fleet")),
    )
    try:
        lineage = find(sources, asked.strip(), list_labels=labels)
    except NothingKnown as e:
        raise CommandError(str(e)) from e
    if svg is not None:
        svg.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(to_svg(lineage), encoding="utf-8")
    # Not through rich, which would interpret brackets as markup.
    typer.echo(lineage.to_json().decode() if as_json else to_text(lineage).rstrip("\n"))


def _trusted_root(file: Path | None) -> bytes | None:
    """Return the root metadata that verifies releases, from the file or from the servers of this machine; else None.

    Raises:
        CommandError: the file cannot be read.
    """
    if file is None:
        here = layout().keys / "root.json"
        if not is_on_this_machine() or not here.exists():
            return None
        file = here
    try:
        return file.read_bytes()
    except OSError as e:
        raise CommandError(f"cannot read the trusted root at {file}: {e.strerror}") from e
