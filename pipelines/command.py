"""What the commands of `kizu` share: where they print, and whose settings they use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

REPOSITORY: Final = Path(__file__).resolve().parent.parent
DEFAULT_USE_CASE: Final = REPOSITORY / "use_cases" / "metal-tag.yaml"
console: Final = Console()

UseCaseOption = Annotated[
    Path, typer.Option("--use-case", "-u", help="The use case file: what is inspected and by which policy.")
]


class CommandError(Exception):
    """A command that cannot go on; the message is one line for a person."""


def layout() -> Any:
    """The installation on this machine."""
    from deploy.local.layout import Layout

    return Layout.from_environment()


def use_identity(name: str) -> None:
    """On one machine, take the settings of an identity; elsewhere the environment has them already."""
    import os

    from deploy.local.identities import environment_for
    from deploy.local.stack import status

    if os.environ.get("KIZU_S3_ENDPOINT") or os.environ.get("MLFLOW_TRACKING_URI"):
        return
    if not status(layout()).healthy:
        raise CommandError("no server is configured and the local stack is not up; run: kizu up")
    os.environ.update(environment_for(layout(), name))


def use_case(path: Path) -> Any:
    """Read a use case file."""
    from components.use_case import load_use_case

    return load_use_case(path)
