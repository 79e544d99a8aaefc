"""`kizu doctor`: prints a line for each check, and what to do about each fault."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kizu.context import console, is_on_this_machine, layout, settings_as, use_case

app = typer.Typer()


@app.command()
def doctor(
    label_studio_origin: Annotated[
        str | None,
        typer.Option(help="Label Studio as a browser calls it, if not KIZU_LABEL_STUDIO_PUBLIC_URL or its own URL."),
    ] = None,
    inspects: Annotated[
        list[Path] | None,
        typer.Option(
            "--use-case",
            "-u",
            help="The use case file of each product here (repeat it): lists images that belong to none or to two.",
        ),
    ] = None,
) -> None:
    """Check whether labeling can work: S3 and its rules, Label Studio, MLflow, and the signer. It changes nothing."""
    config = settings_as("labeling")
    from kizu.doctor import diagnose

    if is_on_this_machine() and not config.signer_url:  # this machine's labeling identity does not know the signer
        config = config.model_copy(update={"signer_url": layout().signer_url})
    products = [use_case(path) for path in inspects or ()]
    sources = {product.name: product.sources for product in products} or None
    failed = 0
    for finding in diagnose(config, origin=label_studio_origin, sources=sources):
        failed += not finding.ok
        state = "ok    " if finding.ok else "FAILED"
        console.print(f"{state}  {finding.check}: {finding.said}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        console.print(f"{failed} checks failed", highlight=False)
        raise typer.Exit(1)
