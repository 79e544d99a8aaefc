"""What the commands of `kizu` share: where they print, and whose settings they use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from deploy.access.layout import REPOSITORY

if TYPE_CHECKING:
    from components.settings import Settings

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


def settings_as(identity: str) -> Settings:
    """The settings that a command works with.

    Where the environment names a server, they are read from it. Else they are those of an identity of the servers on
    this machine.

    Raises:
        CommandError: the environment names no server, and the servers of this machine are not up.
        SettingsError: a setting has the wrong form.
    """
    if is_configured():
        from components.settings import settings

        return settings()
    _require_servers_of_this_machine()
    return settings_here(identity)


def settings_here(identity: str) -> Settings:
    """The settings of an identity of the servers on this machine, whatever servers the environment names.

    The environment still gives settings that no identity has, such as those of another store that images come from.
    """
    import os

    from components.settings import Settings
    from components.stores.models.mlflow_account import act_as
    from deploy.access.identities import environment_for

    config = Settings.from_environment({**os.environ, **environment_for(layout(), identity)})
    act_as(config)
    # All servers are on loopback. The clients of S3, Delta Lake and MLflow look up a proxy in the environment alone.
    os.environ["NO_PROXY"] = "*"
    return config


def settings_with_own_account(account: str | None, password_file: Path | None) -> Settings:
    """Settings with the MLflow account of a person: from options, from the environment, or asked for at the terminal.

    Raises:
        CommandError: no server is configured, the password file cannot be read, or there is no terminal to ask at.
        SettingsError: a setting has the wrong form.
    """
    import os
    import sys

    from components.settings import Settings
    from components.stores.models.mlflow_account import act_as

    environment = dict(os.environ)
    if not environment.get("MLFLOW_TRACKING_URI"):
        _require_servers_of_this_machine()
        environment["MLFLOW_TRACKING_URI"] = layout().mlflow_url
    name = account or environment.get("MLFLOW_TRACKING_USERNAME")
    # The environment's password is that of the environment's account.
    same = account in (None, environment.get("MLFLOW_TRACKING_USERNAME"))
    password = environment.get("MLFLOW_TRACKING_PASSWORD") if same else None
    if password_file is not None:
        try:
            password = password_file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            raise CommandError(f"cannot read the password file {password_file}: {e}") from e
    if (not name or not password) and not sys.stdin.isatty():
        raise CommandError(
            "a person approves with their own account: expected MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or --account and --password-file, or a terminal to ask at"
        )
    name = name or str(typer.prompt("account of MLflow"))
    password = password or str(typer.prompt(f"password of {name}", hide_input=True))
    environment |= {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
    config = Settings.from_environment(environment)
    act_as(config)
    return config


def is_configured() -> bool:
    """Whether the environment names a server. Else the commands use the servers of this machine."""
    import os

    return bool(os.environ.get("KIZU_S3_ENDPOINT") or os.environ.get("MLFLOW_TRACKING_URI"))


def is_on_this_machine() -> bool:
    """Whether the commands work with the servers of this machine.

    A process that was started with the environment of an identity names them too, and `KIZU_HOME` with them.
    """
    import os

    return "KIZU_HOME" in os.environ or not is_configured()


def _require_servers_of_this_machine() -> None:
    if not of_this_machine("deploy.local.stack").status(layout()).healthy:
        raise CommandError("no server is configured and the local stack is not up; run: kizu up")


def use_case(path: Path) -> Any:
    """Read a use case file."""
    from components.use_case import load_use_case

    return load_use_case(path)
