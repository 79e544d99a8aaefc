"""`kizu labels …`: the label store, looked at and kept."""

from __future__ import annotations

import typer

labels_app = typer.Typer(no_args_is_help=True, help="The label store: what is in it, and its upkeep.")
