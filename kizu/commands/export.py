"""`kizu export …`: writes approved labels as files for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kizu.commands.exchange import progress, raw_images
from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as
from kizu.context import use_case as read_use_case

export_app = typer.Typer(no_args_is_help=True, help="Write approved labels as files for other tools.")

VersionOption = Annotated[int, typer.Option(help="The version of the label store; -1: the latest.")]
DatasetOption = Annotated[str | None, typer.Option(help="The digest of a dataset: export its labels in its splits.")]
NoImagesOption = Annotated[bool, typer.Option("--no-images", help="Export the labels only.")]
FolderArgument = Annotated[Path, typer.Argument(help="A new folder.")]


@export_app.command("coco")
def export_coco(
    folder: FolderArgument,
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    label_version: VersionOption = -1,
    dataset: DatasetOption = None,
    no_images: NoImagesOption = False,
) -> None:
    """Write the latest approved labels, or a dataset's, as COCO: annotations.json (or <split>.json) and images/."""
    config = settings_as("training")
    from components.exchange import exporting

    product = read_use_case(use_case)
    images, classes = _selected(config, product, label_version, dataset)
    with progress("images", None if no_images else len(images)) as advance:
        exporting.export_coco(
            folder, images, classes, product.name, None if no_images else raw_images(config).fetch, advance
        )
    _say_exported(images, folder)


@export_app.command("yolo")
def export_yolo(
    folder: FolderArgument,
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    label_version: VersionOption = -1,
    dataset: DatasetOption = None,
    no_images: NoImagesOption = False,
) -> None:
    """Write the latest approved labels, or a dataset's, for Ultralytics: data.yaml, images/, labels/, parts.csv."""
    config = settings_as("training")
    from components.exchange import exporting

    product = read_use_case(use_case)
    images, classes = _selected(config, product, label_version, dataset)
    with progress("images", None if no_images else len(images)) as advance:
        exporting.export_yolo(folder, images, classes, None if no_images else raw_images(config).fetch, advance)
    _say_exported(images, folder)


@export_app.command("parquet")
def export_parquet(
    file: Annotated[Path, typer.Argument(help="A new file.")],
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    label_version: VersionOption = -1,
    all_events: Annotated[
        bool, typer.Option("--all", help="Write all events, not only the latest approved ones.")
    ] = False,
) -> None:
    """Write rows of the label store to a Parquet file, unchanged."""
    config = settings_as("training")
    from components.exchange import exporting
    from components.stores.labels.store import LabelStore

    product = read_use_case(use_case)
    store = LabelStore.open(config)
    version = store.version() if label_version < 0 else label_version
    rows = store.rows(product.name, version=version, approved_only=not all_events)
    exporting.export_parquet(file, rows)
    console.print(f"{rows.num_rows} rows in {file}", highlight=False)


def _selected(config: Any, product: Any, label_version: int, dataset: str | None) -> tuple[list[Any], Any]:
    from components.exchange.selection import from_labels, from_manifest
    from components.stores.datasets.manifest import load_manifest
    from components.stores.labels.store import LabelStore
    from components.stores.objects.s3 import S3ObjectStore

    if dataset is not None:
        if label_version >= 0:
            raise CommandError("expected --label-version or --dataset, but got both")
        manifest = load_manifest(S3ObjectStore.from_settings(config), config.bucket("datasets"), dataset)
        return from_manifest(manifest), manifest.classes
    store = LabelStore.open(config)
    version = store.version() if label_version < 0 else label_version
    return from_labels(store.latest_approved(product.name, version=version)), product.classes


def _say_exported(images: list[Any], folder: Path) -> None:
    boxes = sum(len(image.boxes) for image in images)
    console.print(f"{len(images)} images with {boxes} boxes in {folder}", highlight=False)
