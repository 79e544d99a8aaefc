"""`kizu import images`, and what the commands for labels of other tools share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from kizu.context import CommandError, console, layout, settings_as
from kizu.context import use_case as read_use_case

import_app = typer.Typer(
    no_args_is_help=True, help="Import images into the raw bucket, and labels from other tools into the label store."
)

NameOption = Annotated[
    str | None, typer.Option(help="Images get the device `import-<name>`. Default: the folder's name.")
]
SiteOption = Annotated[str, typer.Option(help="The site that the images come from.")]
PartsOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV with the columns image, part: which images show the same part. Default: parts.csv beside the images."
    ),
]
ListingOption = Annotated[
    Path | None,
    typer.Option("--set-aside", help="The CSV file that lists what was not imported. Default: ./set-aside-<name>.csv"),
]
ImagesOption = Annotated[str | None, typer.Option(help="The folder or s3:// prefix with the labelled images.")]
TrustOption = Annotated[
    bool,
    typer.Option("--trust-status", help="Labels that the source approved count as approved. Each row records this."),
]
ClassOption = Annotated[
    list[str] | None,
    typer.Option("--class", help="THEIRS=OURS: the name here of a class (name or number) of the source."),
]


SupersedeOption = Annotated[
    bool,
    typer.Option("--supersede", help="These labels replace later ones of other imports. What a person verified stays."),
]


@import_app.command("images")
def import_images(
    source: Annotated[str, typer.Argument(help="A folder with its subfolders, or s3://bucket/prefix.")],
    name: NameOption = None,
    site: SiteOption = "factory",
    parts: PartsOption = None,
    set_aside: ListingOption = None,
    use_case: Annotated[
        Path | None,
        typer.Option("--use-case", "-u", help="The use case that the images are for, if it names its sources."),
    ] = None,
) -> None:
    """Import images into the raw bucket. Files that are not usable images are listed and left out."""
    config = settings_as("importer")
    from components.ingest.images import import_images as run
    from components.ingest.journal import open_journal
    from inspection.image import sha256_of

    found = source_of(config, source)
    name = name or name_of(source)
    address = source if source.startswith("s3://") else str(Path(source).resolve())
    journal_file = layout().home / "imports" / f"{sha256_of(f'{address}|{name}|{site}'.encode())[:16]}.jsonl"
    known_parts = parts_of(parts, source)
    product = read_use_case(use_case) if use_case else None
    owner = product.name if product is not None and product.sources else None
    with open_journal(journal_file) as journal, progress("images") as advance:
        result = run(
            raw_images(config), found, journal,
            name=name, site=site, parts=known_parts, on_file=advance, use_case=owner,
        )  # fmt: skip
    if known_parts:
        from components.stores.labels.parts import correct_parts
        from components.stores.labels.store import LabelStore
        from components.stores.raw_images.image_source import part_of

        told = {sha256: part for sha256, file in result.images.items() if (part := part_of(file, known_parts))}
        corrected = correct_parts(LabelStore.open(config), told)
        if corrected:
            console.print(f"{corrected} approved labels have another part now", highlight=False)
    console.print(
        f"{result.files} files: {len(result.images)} images ({result.new} new), {len(result.set_aside)} set aside"
    )
    _list_set_aside(result.set_aside, set_aside or Path(f"set-aside-{_plain(name)}.csv"))


def import_labels(
    config: Any,
    rows: Iterator[Any],
    finder: Any,
    product: Any,
    source: str,
    *,
    trust: bool,
    name: str,
    site: str,
    parts: dict[str, str],
    listing: Path | None,
    supersede: bool,
) -> None:
    """Import rows and say what became of them. source: the format; listing: where what was set aside is listed."""
    from components.exchange.importing import ImportOptions, import_rows
    from components.stores.labels.store import LabelStore
    from components.stores.raw_images.set_aside import SetAside
    from components.stores.raw_images.sources import import_device

    options = ImportOptions(
        use_case=product,
        source=source,
        device=import_device(name, product.name if product.sources else None),
        site=site,
        trust_status=trust,
        parts=parts,
        supersede=supersede,
    )
    with progress("rows") as advance:
        result = import_rows(rows, finder, raw_images(config), LabelStore.open(config), options, advance)
    said = ", ".join(f"{count} {status}" for status, count in sorted(result.rows.items())) or "none"
    total = sum(result.rows.values())
    console.print(
        f"{total} rows ({said}) with {result.boxes} boxes; {result.new} new, {result.new_images} new images; "
        f"{len(result.set_aside)} set aside",
        highlight=False,
    )
    if result.tally.counts():
        changed = ", ".join(f"{count} {reason}" for reason, count in result.tally.counts().items())
        console.print(f"boxes changed or left out: {changed}", highlight=False)
    if result.withheld:
        console.print(f"{result.withheld} rows lost a box and wait for a person instead of counting as approved")
    if result.superseded:
        console.print(f"{result.superseded} rows replaced later labels of other imports", highlight=False)
    if result.not_in_force:
        people = sum(one.winner.by_a_person for one in result.not_in_force)
        imports = len(result.not_in_force) - people
        way = "; --supersede puts these in force" if imports else ""
        console.print(
            f"{len(result.not_in_force)} rows are not in force, because later labels of their images say something "
            f"else: {people} by people, {imports} by other imports{way}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    overruled = [SetAside(one.image, "not-in-force", one.message, one.line) for one in result.not_in_force]
    _list_set_aside((*result.set_aside, *overruled), listing or Path(f"set-aside-{_plain(name)}.csv"))


def _list_set_aside(items: Any, file: Path) -> None:
    from components.stores.raw_images.set_aside import by_reason, write_listing

    if not items:
        return
    write_listing(file, items)
    for reason, count in sorted(by_reason(items).items()):
        console.print(f"  {count} {reason}", markup=False, highlight=False)
    console.print(f"what was set aside, and why: {file}", markup=False, highlight=False, soft_wrap=True)


def source_of(config: Any, address: str) -> Any:
    """Return the source of images at an address: a folder or an S3 prefix."""
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.raw_images.image_source import FolderSource, ImageSourceError, S3Source

    if not address.startswith("s3://"):
        if not Path(address).is_dir():
            raise ImageSourceError(f"expected a folder of images or s3://bucket/prefix, but got {address}")
        return FolderSource(Path(address))
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not bucket:
        raise CommandError(f"expected s3://bucket/prefix, but got {address!r}")
    return S3Source(S3ObjectStore.source_of(config), bucket, prefix)


def raw_images(config: Any) -> Any:
    """Return the raw bucket, with the rights of these settings."""
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.raw_images.images import RawImages

    return RawImages(S3ObjectStore.from_settings(config), config.bucket("raw"))


def read_bytes(config: Any, address: str) -> bytes:
    """The whole file or object."""
    from components.stores.objects.s3 import S3ObjectStore, parse_uri

    if address.startswith("s3://"):
        return S3ObjectStore.source_of(config).get(*parse_uri(address))
    try:
        return Path(address).read_bytes()
    except OSError as e:
        raise CommandError(f"cannot read {address}: {e.strerror}") from e


def text_of(config: Any, address: str) -> str:
    """The whole file or object as text."""
    # A byte that is not UTF-8 makes its own row invalid, not the whole file.
    return read_bytes(config, address).decode("utf-8-sig", errors="replace")


def parts_of(file: Path | None, *beside: str | None) -> dict[str, str]:
    """Read the parts from the file, or from a parts.csv in the folder of the images or beside the labels."""
    from components.stores.raw_images.image_source import read_parts

    if file is not None:
        return read_parts(file)
    for place in beside:
        if place is None or place.startswith("s3://"):
            continue
        folder = Path(place) if Path(place).is_dir() else Path(place).parent
        above = [folder.parent / "parts.csv"] if folder.name == "images" else []
        for candidate in (folder / "parts.csv", *above):
            if candidate.is_file():
                return read_parts(candidate)
    return {}


def name_of(address: str) -> str:
    """Return the name of the last folder of an address."""
    if address.startswith("s3://"):
        return address.rstrip("/").rsplit("/", 1)[-1]
    path = Path(address).resolve()
    return path.name if path.is_dir() else path.parent.name


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "import"


def class_names(product: Any, renamed: list[str] | None) -> Any:
    """The classes of the use case, with the names of `--class`."""
    from components.exchange.rows import ClassNames

    pairs = {}
    for item in renamed or ():
        theirs, separator, ours = item.partition("=")
        if not separator or not theirs or not ours:
            raise CommandError(f"expected --class THEIRS=OURS, but got {item!r}")
        pairs[theirs] = ours
    return ClassNames(product.classes, pairs)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Any]:
    """Show a progress bar. Yields the function to call after each item."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
