"""`kizu devices` and `kizu reconcile`: show what each device runs, and move `champion` after a rollout."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from kizu.context import console, settings_as

app = typer.Typer()


def _pass_over(group: str, *, act: bool) -> Any:
    config = settings_as("reconciler")
    from components.stores.fleet.reports import FleetReports
    from components.stores.models.registry import ModelRegistry
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.releases.signer_client import SignerClient
    from reconciler.adapters import MlflowChampions
    from reconciler.rules import group_state
    from reconciler.rules import reconcile as one_pass

    signer = SignerClient(config.required("signer_url"))
    fleet = FleetReports(S3ObjectStore.from_settings(config), config.bucket("fleet"))
    if not act:
        desired = signer.desired(group)
        return group_state(group, desired, fleet.reports(), datetime.now(UTC)) if desired else None
    champions = MlflowChampions(ModelRegistry.from_settings(config))
    return one_pass(group, signer, fleet, champions, datetime.now(UTC))


GroupOption = Annotated[str, typer.Option("--group", "-g", help="The group of devices.")]


@app.command()
def reconcile(
    group: GroupOption = "line",
    every: Annotated[float, typer.Option(help="Seconds between passes; 0: one pass.")] = 0.0,
) -> None:
    """Compare what devices run with what they should run. If all of a group do, move `champion` to that version."""
    while True:
        _print_group(_pass_over(group, act=True), group)
        if every <= 0:
            return
        time.sleep(every)


@app.command()
def devices(group: GroupOption = "line") -> None:
    """Show what each device runs and what it should run. It changes nothing."""
    _print_group(_pass_over(group, act=False), group)


def _print_group(state: Any, group: str) -> None:
    if state is None:
        console.print(f"nothing was released to the group {group} yet; run: kizu deploy")
        return
    table = Table(title=f"group {state.group}, sequence {state.sequence}", box=None)
    for column in ("device", "runs", "should run", "state", ""):
        table.add_column(column)
    for device in state.devices:
        table.add_row(
            device.device,
            (device.running or "-")[:12],
            (device.wanted or "-")[:12],
            "late" if device.late else device.state,
            device.reason,
        )
    console.print(table)
