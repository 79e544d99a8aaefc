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
    from deploy.access.layout import Layout

    return Layout.from_environment()


def of_this_machine(module: str) -> Any:
    """A module of `deploy.local` or `demo`: the servers and runs of one machine.

    Raises:
        CommandError: they are not here; the image `control` of a cluster holds none.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name in (module, module.rpartition(".")[0]):
            raise CommandError(
                "expected the repository: this command needs servers or runs of one machine, which this image lacks"
            ) from e
        raise


def use_identity(name: str) -> None:
    """On one machine, take the settings of an identity; elsewhere the environment has them already."""
    import os

    if os.environ.get("KIZU_S3_ENDPOINT") or os.environ.get("MLFLOW_TRACKING_URI"):
        return
    from deploy.access.identities import environment_for

    if not of_this_machine("deploy.local.stack").status(layout()).healthy:
        raise CommandError("no server is configured and the local stack is not up; run: kizu up")
    os.environ.update(environment_for(layout(), name))


def use_own_account(account: str | None, password_file: Path | None) -> None:
    """Take the account of a person, whose act it is: from options, the environment, or by asking at the terminal.

    Raises:
        CommandError: no server is configured, or there is nobody to ask.
    """
    import os
    import sys

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        if not of_this_machine("deploy.local.stack").status(layout()).healthy:
            raise CommandError("no server is configured and the local stack is not up; run: kizu up")
        os.environ["MLFLOW_TRACKING_URI"] = layout().mlflow_url
    name = account or os.environ.get("MLFLOW_TRACKING_USERNAME")
    # The environment's password is that of the environment's account.
    same = account in (None, os.environ.get("MLFLOW_TRACKING_USERNAME"))
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") if same else None
    if password_file is not None:
        try:
            password = password_file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            raise CommandError(f"cannot read the password file {password_file}: {e}") from e
    if (not name or not password) and not sys.stdin.isatty():
        raise CommandError(
            "an approval is a person's act: expected your account of MLflow as MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or --account and --password-file, or a terminal to ask at"
        )
    name = name or typer.prompt("account of MLflow")
    os.environ["MLFLOW_TRACKING_USERNAME"] = str(name)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = password or typer.prompt(f"password of {name}", hide_input=True)


def use_case(path: Path) -> Any:
    """Read a use case file."""
    from components.use_case import load_use_case

    return load_use_case(path)
