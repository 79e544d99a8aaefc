"""`kizu new`: a use case file for a new product, proposed from a look at its first photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kizu.commands.exchange import progress
from kizu.context import CommandError, console

app = typer.Typer()

_SAMPLE = 200


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The product's name: a-z, 0-9 and '-'.")],
    images: Annotated[Path, typer.Option("--images", help="A folder with its first photographs, and its subfolders.")],
    out: Annotated[Path | None, typer.Option("--out", help="The file to write. Default: use_cases/<name>.yaml")] = None,
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="A kind of defect, once for each. Default: those of the labels.")
    ] = None,
    good_only: Annotated[bool, typer.Option("--good-only", help="All photographs show good parts.")] = False,
    sample: Annotated[int, typer.Option(min=2, max=10_000, help="How many photographs to look at, at most.")] = _SAMPLE,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a file that is there.")] = False,
) -> None:
    """Propose a use case file from photographs: input size, kind, split, batch and epochs, each with its reason."""
    from components.first_look.findings import findings_of, lines_of
    from components.first_look.pictures import Seen, look, near_duplicates
    from components.first_look.pictures import sample as sample_of
    from components.first_look.proposal import propose
    from components.first_look.text import use_case_text
    from components.stores.objects.whole_file import sync_folder, write_whole
    from components.stores.raw_images.image_source import FolderSource
    from components.use_case import parse_use_case
    from inspection.paths import check_name
    from kizu.commands.exchange import parts_of
    from kizu.labels_beside import folder_name, labels_beside

    check_name("use case", name)
    file = out or Path("use_cases") / f"{name}.yaml"
    if file.exists() and not replace:
        raise CommandError(
            f"{file} is there already, and a person may have written it; name another --out, or say --replace"
        )
    source = FolderSource(images)
    files = source.files()
    if not files:
        raise CommandError(f"expected photographs below {images}, but there is no file that may be one")
    chosen = sample_of(files, sample)
    with progress("photographs", len(chosen)) as advance:
        looked = list(look(source, chosen, advance))
    seen = [item for item in looked if isinstance(item, Seen)]
    if not seen:
        first = next((item for item in looked if not isinstance(item, Seen)), None)
        said = f"; {first.name}: {first.message}" if first else ""
        raise CommandError(f"none of the {len(chosen)} files below {images} that were looked at can be read{said}")
    with console.status("comparing"):
        alike = near_duplicates(source, seen)
    parts = parts_of(None, str(images))
    known = findings_of(looked, files=len(files), alike=alike, parts=len(set(parts.values())), labels=None)
    labels = labels_beside(images, known.width, known.height)
    found = findings_of(looked, files=len(files), alike=alike, parts=known.parts, labels=labels)
    text = use_case_text(
        propose(name, found, classes=tuple(class_ or ()), good_only=good_only), lines_of(found), folder_name(images)
    )
    parse_use_case(text, where=f"the proposal for {name}")
    write_whole(file, text.encode())
    sync_folder(file.parent)
    for line in lines_of(found):
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"wrote {file}, with a reason for each value: read it, and change what you know better",
                  markup=False, highlight=False, soft_wrap=True)  # fmt: skip
    if labels is not None:
        console.print(f"its labels: kizu import {labels.kind} …, see docs/how-to/import-and-export.md",
                      markup=False, highlight=False, soft_wrap=True)  # fmt: skip
