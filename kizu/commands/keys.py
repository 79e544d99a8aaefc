"""`kizu keys`: the keys that sign releases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kizu.context import console

app = typer.Typer(no_args_is_help=True, help="The keys that sign releases.")


@app.command("init")
def keys_init(
    root_folder: Annotated[Path, typer.Argument(help="The folder for the root key. Keep it offline.")],
    signer_folder: Annotated[
        Path, typer.Option("--signer", help="The folder for the signer's three keys and root.json.")
    ],
) -> None:
    """Make the keys that sign releases. Existing keys are never overwritten."""
    from components.deployment.keys import init

    root = init(root_folder, signer_folder)
    console.print(f"root key in {root_folder} (keep it offline), signer's keys in {signer_folder}", highlight=False)
    console.print(f"devices pin {root} at enrolment", highlight=False)
