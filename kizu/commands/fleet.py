"""`kizu devices`: what each device runs and should run, its next step, and what that waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from kizu.context import console, settings_as

if TYPE_CHECKING:
    from components.stores.fleet.standing import Filter

app = typer.Typer()


GroupOption = Annotated[
    str | None, typer.Option("--group", "-g", help="Show this group of devices alone. Default: every group.")
]


@app.command()
def devices(
    group: GroupOption = None,
    use_case: Annotated[str, typer.Option("--use-case", help="Show devices for this product alone.")] = "",
    state: Annotated[
        str, typer.Option("--state", help="Show devices in this state alone: running, probation, unknown, late, ….")
    ] = "",
    late: Annotated[
        bool, typer.Option("--late", help="Show devices alone that have been silent for too long.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="Show devices alone whose name fits: 'line-*'.")] = "",
    software: Annotated[
        str,
        typer.Option("--software", help="Show devices alone whose agent has this version ('0.3.*'), slot or state."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Show what each device runs and should run, its next step, and what that waits for. It changes nothing."""
    from components.stores.fleet.standing import Filter

    chosen = Filter(group=group or "", use_case=use_case, state=state, late=late, device=device, software=software)
    standing = chosen.apply(_standing())
    if as_json:
        console.print_json(data=standing.to_value())
        return
    if not standing.groups:
        console.print(_why_nothing(chosen), highlight=False, markup=False)
    for found in standing.groups:
        _print_standing(found)


def _why_nothing(chosen: Filter) -> str:
    if chosen.any and chosen != type(chosen)(group=chosen.group):
        return "no device and no group is like that"
    where = f"the group {chosen.group}" if chosen.group else "any group"
    return f"nothing was released to {where} yet; run: kizu deploy"


def _standing() -> Any:
    config = settings_as("reconciler", "signer")
    from components.stores.fleet.reports import FleetReports
    from components.stores.fleet.standing import fleet_standing
    from components.stores.releases.signer_client import SignerClient

    reports = FleetReports.from_settings(config)
    return fleet_standing(SignerClient.from_settings(config), reports, datetime.now(UTC))


def _of_software(reason: str) -> str:
    return f"agent: {reason}" if reason else ""


def _print_standing(found: Any) -> None:
    from components.stores.fleet.standing import STEPS

    desired = found.desired
    table = Table(title=f"{desired.use_case}, group {found.group}, sequence {desired.sequence}", box=None)
    for column in ("device", "runs", "should run", "wave", "state", "next step", "waits for", "agent", ""):
        table.add_column(column)
    for device in found.devices:
        step, waits_for = STEPS[device.next_step]
        table.add_row(
            device.device,
            (device.running or "-")[:12],
            (device.wanted or "-")[:12],
            str(device.wave or "-"),
            device.shown_state,
            step,
            waits_for or "-",
            device.software,
            Text("; ".join(filter(None, (device.reason, _of_software(device.software_reason))))),
        )
    console.print(table)
