"""`kizu doctor`: one line a check, and what to do about each that failed."""

from __future__ import annotations

from typing import Annotated

import typer

from kizu.context import console, is_on_this_machine, layout, settings_as

app = typer.Typer()


@app.command()
def doctor(
    label_studio_origin: Annotated[
        str | None,
        typer.Option(help="Label Studio as a browser calls it, if not KIZU_LABEL_STUDIO_PUBLIC_URL or its own URL."),
    ] = None,
) -> None:
    """Look whether labeling can work: S3, its rules, Label Studio, MLflow, the signer. Changes nothing."""
    config = settings_as("labeling")
    from kizu.doctor import diagnose

    if is_on_this_machine() and not config.signer_url:  # on one machine the labeling identity does not know the signer
        config = config.model_copy(update={"signer_url": layout().signer_url})
    failed = 0
    for finding in diagnose(config, origin=label_studio_origin):
        failed += not finding.ok
        state = "ok    " if finding.ok else "FAILED"
        console.print(f"{state}  {finding.check}: {finding.said}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        console.print(f"{failed} checks failed", highlight=False)
        raise typer.Exit(1)
