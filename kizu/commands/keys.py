"""`kizu keys`: the keys that sign releases."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kizu.context import console, layout

app = typer.Typer(no_args_is_help=True, help="The keys that sign releases.")

RolesArgument = Annotated[list[str], typer.Argument(help="targets, snapshot, timestamp, root; one or several.")]
RootKeyOption = Annotated[
    Path | None, typer.Option("--root-key", help="The folder of the root key; this machine's by default.")
]
SignerOption = Annotated[
    Path | None, typer.Option("--signer", help="The folder of the signer's keys; this machine's by default.")
]


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


@app.command()
def rotate(roles: RolesArgument, root_key: RootKeyOption = None, signer: SignerOption = None) -> None:
    """Replace keys by new ones, and renew the root for ten years. Devices notice nothing.

    The root key signs what the devices must know. Running it again completes an interrupted call.
    """
    _replace(roles, root_key, signer, revoke=False)


@app.command()
def revoke(roles: RolesArgument, root_key: RootKeyOption = None, signer: SignerOption = None) -> None:
    """Replace stolen or lost keys: what the old ones signed counts no more, at once.

    After `revoke targets` nothing is published any more: run `kizu deploy`.
    """
    _replace(roles, root_key, signer, revoke=True)


def _replace(roles: list[str], root_key: Path | None, signer: Path | None, *, revoke: bool) -> None:
    from components.deployment.rotation import replace_keys

    root_folder = root_key or layout().home / "root-key"
    signer_folder = signer or layout().keys
    found = replace_keys(roles, root_folder, signer_folder, revoke=revoke, now=datetime.now(UTC))
    done = "completed what was interrupted" if found.resumed else ("revoked" if revoke else "rotated")
    console.print(
        f"{done}: root {found.version} is in force, until {found.expires:%Y-%m-%d}\n"
        f"the new keys are in {signer_folder}; a running signer of this machine takes them over within seconds, and on "
        "a cluster run python -m deploy.k8s.credentials again and apply its file",
        highlight=False,
        soft_wrap=True,
    )
