"""What the commands of `kizu` share: the console, and the settings of the identity that a command works with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from deploy.access.layout import REPOSITORY

if TYPE_CHECKING:
    from components.settings import Settings

DEFAULT_USE_CASE: Final = REPOSITORY / "use_cases" / "metal-tag.yaml"
console: Final = Console()
_SERVERS_OF: Final = {
    "labeling": ("s3", "mlflow", "label-studio"),
    "training": ("s3", "mlflow"),
    "evaluation": ("s3", "mlflow"),
    "deployment": ("s3", "mlflow", "signer"),
}
"""The servers that a pipeline needs on one machine."""

UseCaseOption = Annotated[Path, typer.Option("--use-case", "-u", help="The use case file.")]


class CommandError(Exception):
    """A command cannot continue. The message is one line for the user."""


def layout() -> Any:
    """Return the layout of the installation on this machine."""
    from deploy.access.layout import Layout

    return Layout.from_environment()


def of_this_machine(module: str) -> Any:
    """Import a module of `deploy.local` or `demo`, which run the servers and pipelines of one machine.

    Raises:
        CommandError: the module is missing. The image `control` of a cluster does not contain these folders.
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


def settings_as(identity: str, *servers: str) -> Settings:
    """Return the settings that a command works with.

    If the environment names a server, the settings come from the environment. Otherwise they are the settings of an
    identity of the servers on this machine.

    Args:
        identity: of the servers on this machine.
        servers: that the command needs besides the store, by their names in `kizu status`.

    Raises:
        CommandError: the environment names no server, and a server of this machine that is needed is not up.
        SettingsError: a setting has the wrong form.
    """
    if is_configured():
        from components.settings import settings

        return settings()
    require_servers_here("s3", *servers)
    if identity == "importer":
        note_product("imported")
    return settings_here(identity)


def settings_as_operator(*servers: str) -> Settings:
    """Return the settings of the reconciler, with a caller of the signer who may do what a person orders.

    On a cluster, the environment brings that caller's token.

    Raises:
        CommandError, SettingsError: see `settings_as`.
    """
    config = settings_as("reconciler", "signer", *servers)
    if not is_on_this_machine():
        return config
    from pydantic import SecretStr

    from deploy.access.identities import signer_token

    return config.model_copy(update={"signer_token": SecretStr(signer_token(layout(), "operator"))})


def settings_here(identity: str) -> Settings:
    """Return the settings of an identity of the servers on this machine, even if the environment names other servers.

    Settings that no identity has, such as those of another store that images come from, are still read from the
    environment.
    """
    import os

    from components.settings import Settings
    from components.stores.models.mlflow_account import act_as
    from deploy.access.identities import environment_for

    # A session token of the environment belongs to a key of another store.
    elsewhere = {name: value for name, value in os.environ.items() if name != "AWS_SESSION_TOKEN"}
    config = Settings.from_environment({**elsewhere, **environment_for(layout(), identity)})
    act_as(config)
    # All servers are on loopback. The clients of S3, Delta Lake and MLflow read the proxy from the environment only.
    os.environ["NO_PROXY"] = "*"
    return config


def settings_with_own_account(account: str | None, password_file: Path | None) -> Settings:
    """Return settings with a person's MLflow account, from the options, the environment, or a prompt at the terminal.

    Raises:
        CommandError: no server is configured, the password file cannot be read, or there is no terminal for a prompt.
        SettingsError: a setting has the wrong form.
    """
    import os
    import sys

    from components.settings import Settings
    from components.stores.models.mlflow_account import act_as

    environment = dict(os.environ)
    if not environment.get("MLFLOW_TRACKING_URI"):
        require_servers_here("mlflow")
        environment["MLFLOW_TRACKING_URI"] = layout().mlflow_url
    name = account or environment.get("MLFLOW_TRACKING_USERNAME")
    # The password in the environment belongs to the account in the environment.
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
    """Return whether the environment names a server. If not, the commands use the servers of this machine."""
    import os

    return bool(os.environ.get("KIZU_S3_ENDPOINT") or os.environ.get("MLFLOW_TRACKING_URI"))


def is_on_this_machine() -> bool:
    """Return whether the commands work with the servers of this machine.

    The environment of an identity on this machine names servers too, but it also has `KIZU_HOME`.
    """
    import os

    return "KIZU_HOME" in os.environ or not is_configured()


def run_here(pipeline: str, arguments: dict[str, Any], product: str, **more: Any) -> dict[str, Any]:
    """Run a pipeline on this machine, for a use case, with the servers of this machine. more: see `run_pipeline`.

    Raises:
        CommandError: a server is not up.
        RunFailed: the run failed.
    """
    run_pipeline: Callable[..., dict[str, Any]] = of_this_machine("deploy.local.runs").run_pipeline
    require_servers_here(*_SERVERS_OF[pipeline])
    note_product(product)
    return run_pipeline(layout(), pipeline, arguments, **more)


def require_servers_here(*servers: str) -> None:
    """Check that servers of this machine are up.

    Where a supervisor runs, each of these servers must be healthy; what else has ended, such as the reconciler, holds
    up no command. Where none runs, somebody else may have started the servers, as a container does: then the store must
    answer.

    Args:
        servers: those that a command needs, by their names in `kizu status`.

    Raises:
        CommandError: one of them is not up; the message names it and what to run.
    """
    found = of_this_machine("deploy.local.stack").status(layout())
    if not found.services and not _answers(layout().ports.s3):
        raise CommandError("no server is configured, and the servers of this machine are not up; run: kizu up")
    state = {service.name: service.state for service in found.services}
    away = [f"{name} is {state[name]}" for name in servers if state.get(name, "healthy") != "healthy"]
    if away:
        raise CommandError(f"{', '.join(away)}; run: kizu up, which starts what has ended")


def _answers(port: int) -> bool:
    """Return whether a server listens at a port of this machine, whoever started it."""
    import socket

    from deploy.access.layout import LOOPBACK

    with socket.socket() as probe:
        probe.settimeout(2.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def note_product(name: str) -> None:
    """Note that a person works with a use case on this machine, so that the demo does not delete it."""
    folder = layout().products
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / name).touch()


def use_case(path: Path) -> Any:
    """Read a use case file."""
    from components.use_case import load_use_case

    return load_use_case(path)
