"""`kizu devices` and `kizu reconcile`: show what each device runs, and move `champion` after a rollout."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from kizu.context import CommandError, console, settings_as

app = typer.Typer()


def _pass_over(*, act: bool) -> list[Any]:
    config = settings_as("reconciler")
    from components.stores.fleet.reports import FleetReports
    from components.stores.models.registry import ModelRegistry
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.releases.signer_client import SignerClient
    from reconciler.adapters import MlflowChampions
    from reconciler.rules import group_states
    from reconciler.rules import reconcile as one_pass

    signer = SignerClient.from_settings(config)
    fleet = FleetReports(S3ObjectStore.from_settings(config), config.bucket("fleet"))
    if not act:
        return group_states(signer, fleet, datetime.now(UTC))
    champions = MlflowChampions(ModelRegistry.from_settings(config))
    return one_pass(signer, fleet, champions, datetime.now(UTC))


GroupOption = Annotated[
    str | None, typer.Option("--group", "-g", help="Show this group of devices alone. Default: every group.")
]


@app.command()
def reconcile(
    group: GroupOption = None,
    every: Annotated[float, typer.Option(help="Seconds between passes; 0: one pass.")] = 0.0,
) -> None:
    """Compare what devices report with what they should run, for every use case and group, and move `champion`."""
    if every <= 0:
        _print_groups(_pass_over(act=True), group)
        return
    repeat(lambda: _print_groups(_pass_over(act=True), group), every)


def repeat(one_pass: Callable[[], None], every_s: float, *, sleep: Callable[[float], object] = time.sleep) -> None:
    """Make passes for ever. A pass that fails is told, and the next one is made: a server may be away for a while.

    Raises:
        CommandError, SettingsError: what the user asked for cannot work; no later pass would.
    """
    from components.settings import SettingsError

    while True:
        try:
            one_pass()
        except (CommandError, SettingsError):
            raise
        except Exception as e:
            console.print(f"this pass failed: {e}; the next one is in {every_s:.0f} s", highlight=False, markup=False)
        sleep(every_s)


@app.command()
def devices(group: GroupOption = None) -> None:
    """Show what each device runs and what it should run. It changes nothing."""
    _print_groups(_pass_over(act=False), group)


def _print_groups(states: list[Any], group: str | None) -> None:
    shown = [state for state in states if group is None or state.group == group]
    if not shown:
        where = f"to the group {group}" if group is not None else "to any group"
        console.print(f"nothing was released {where} yet; run: kizu deploy")
    for state in shown:
        _print_group(state)


def _print_group(state: Any) -> None:
    table = Table(title=f"{state.use_case}, group {state.group}, sequence {state.sequence}", box=None)
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
