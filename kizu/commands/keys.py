"""`kizu keys`: the keys that sign releases."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kizu.context import DEFAULT_USE_CASE, UseCaseOption, console, layout, settings_as_operator
from kizu.context import use_case as read_use_case

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
        Path, typer.Option("--signer", help="The folder for the signer's four keys and root.json.")
    ],
) -> None:
    """Make the keys that sign releases. Existing keys are never overwritten."""
    from components.deployment.keys import init

    root = init(root_folder, signer_folder)
    console.print(f"root key in {root_folder} (keep it offline), signer's keys in {signer_folder}", highlight=False)
    console.print(f"devices pin {root} at enrolment", highlight=False)


@app.command("agent")
def keys_agent(
    signer: SignerOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the key that is there.")] = False,
) -> None:
    """Make the key that signs the agent's software, where the signer has none yet. Devices notice nothing."""
    from components.deployment.keys import make_agent_key

    folder = signer or layout().keys
    made = make_agent_key(folder, replace=replace)
    console.print(
        f"{'made' if made else 'kept'} the key of the agent's software in {folder}; a running signer of this machine "
        "takes it over within seconds",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def rotate(roles: RolesArgument, root_key: RootKeyOption = None, signer: SignerOption = None) -> None:
    """Replace keys by new ones, and renew the root for ten years. Devices notice nothing.

    The root key signs what the devices must know. Running it again completes an interrupted call.
    """
    _replace(roles, root_key, signer, revoke=False)


@app.command()
def revoke(roles: RolesArgument, root_key: RootKeyOption = None, signer: SignerOption = None) -> None:
    """Replace stolen or lost keys: what the old ones signed counts no more, at once.

    After `revoke targets` nothing is published any more: run `kizu keys recover`.
    """
    _replace(roles, root_key, signer, revoke=True)


@app.command()
def recover(
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    version: Annotated[
        int, typer.Option(help="The version to publish; 0: the champion, or the newest approved one.")
    ] = 0,
    above: Annotated[
        int, typer.Option(min=0, help="A sequence that devices have seen and do not report; the new one is above it.")
    ] = 0,
) -> None:
    """Publish again after the releases bucket was lost or restored, above all that devices report they have seen.

    Without this, devices refuse the new repository as an old one. Run it once for each use case.
    """
    from components.deployment.recovery import recover as recover_release
    from components.stores.fleet.reports import FleetReports
    from components.stores.models.registry import CHAMPION, ModelRegistry
    from components.stores.releases.signer_client import SignerClient

    config = settings_as_operator("mlflow")
    name = read_use_case(use_case).name
    fleet = FleetReports.from_settings(config).reading()
    unread = [f"{report.device} ({report.reason})" for report in fleet.unread if report.use_case in (None, name)]
    if unread:
        console.print(
            f"the reports of these devices cannot be read, so what they have seen is not known: {'; '.join(unread)}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    found = recover_release(
        SignerClient.from_settings(config),
        ModelRegistry.from_settings(config),
        fleet.reports,
        name,
        champion=CHAMPION,
        version=version,
        above=above,
    )
    console.print(
        f"version {found.version} of {name} is published again, sequence {found.sequence}\n"
        f"above what these devices report: {', '.join(found.devices) or 'none'}; a device that is not among them and "
        "says rolled-back-sequence needs a higher number with --above",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


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
