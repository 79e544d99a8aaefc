"""`kizu approve` and `kizu reject`: a person's decision on a registered model version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kizu.context import console, settings_with_own_account

app = typer.Typer()

VersionArgument = Annotated[int, typer.Argument(help="The model version, as MLflow shows it.", min=1)]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="The name of the model, which is the name of its use case.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="The reason, which MLflow stores with the version.")]
AccountOption = Annotated[
    str | None, typer.Option("--account", help="Your MLflow account. Default: MLFLOW_TRACKING_USERNAME, or a prompt.")
]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(help="A file that holds only your password. Default: MLFLOW_TRACKING_PASSWORD, or a prompt."),
]


def _decide(model: str, version: int, decision: Any, reason: str, account: str | None, password_file: Any) -> None:
    config = settings_with_own_account(account, password_file)
    from components.stores.models.approval import decide_approval
    from components.stores.models.registry import ModelRegistry

    found = decide_approval(ModelRegistry.from_settings(config), model, version, decision, reason=reason)
    console.print(f"{model} version {version} is {decision}, by {found.tags.get('approval_by', 'nobody')}")


@app.command()
def approve(
    version: VersionArgument,
    model: ModelOption = "metal-tag",
    reason: ReasonOption = "",
    account: AccountOption = None,
    password_file: PasswordFileOption = None,
) -> None:
    """Approve a registered version with your own account. Setting its tag `approval` in MLflow does the same."""
    _decide(model, version, "approved", reason, account, password_file)


@app.command()
def reject(
    version: VersionArgument,
    model: ModelOption = "metal-tag",
    reason: ReasonOption = "",
    account: AccountOption = None,
    password_file: PasswordFileOption = None,
) -> None:
    """Reject a registered version with your own account."""
    _decide(model, version, "rejected", reason, account, password_file)
