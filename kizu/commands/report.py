"""`kizu labels report`: writes a page about the labels of a use case."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kizu.commands.labels import labels_app
from kizu.context import DEFAULT_USE_CASE, UseCaseOption, console, settings_as
from kizu.context import use_case as read_use_case


@labels_app.command()
def report(
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML page. It is self-contained.")] = Path(
        "label-report.html"
    ),
    markdown: Annotated[Path | None, typer.Option(help="Also write a Markdown summary to this file.")] = None,
    label_version: Annotated[int, typer.Option(help="The version of the label store; -1: the latest.")] = -1,
    images: Annotated[int, typer.Option(min=0, help="How many approved images to examine, the latest first.")] = 500,
    suspects: Annotated[int, typer.Option(min=0, help="How many suspected label errors to show.")] = 40,
    captures: Annotated[int, typer.Option(min=0, help="How many Captures to read for the cameras' names.")] = 2000,
) -> None:
    """Write a page about images, boxes, people, agreement with models, suspected label errors and coverage."""
    chosen = read_use_case(use_case)
    config = settings_as("labeling", "mlflow")
    from components.reporting.report import ReportOptions
    from components.reporting.write import write_report

    options = ReportOptions(images=images, suspects=suspects, captures=captures)
    with console.status("looking at the labels"):
        made = write_report(config, chosen, label_version, markdown, output, now=datetime.now(UTC), options=options)
    looks = made.looks
    console.print(
        f"{len(made.counts.approved)} approved images, {made.counts.boxes} boxes; "
        f"{looks.suspected} suspected label errors in the {looks.looked_at} images looked at",
        highlight=False,
    )
    if looks.absent:
        console.print(f"without a champion: {looks.absent}", highlight=False, markup=False)
    for path in (output, markdown):
        if path is not None:
            console.print(str(path), highlight=False, markup=False, soft_wrap=True)
