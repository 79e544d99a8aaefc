"""`kizu drift`: compare what lines show with what their releases learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from kizu.context import console, settings_as

app = typer.Typer()
_COLUMNS = ("device", "product", "release", "class", "quantity", "learned", "line", "PSI", "values", "state", "")


@app.command()
def drift(
    use_case: Annotated[
        Path | None, typer.Option("--use-case", "-u", help="The use case file: show its product alone. Default: all.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every comparison. Default: those that differ, and a count of the rest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document with every comparison.")] = False,
) -> None:
    """Show where a line no longer shows what its release learned from. It changes nothing and starts no training."""
    name = ""
    if use_case is not None:
        from components.use_case import load_use_case

        name = load_use_case(use_case).name
    found, unread = _judged(name)
    if as_json:
        from reconciler.drift import SCHEMA_VERSION

        console.print_json(
            data={
                "schema_version": SCHEMA_VERSION,
                "comparisons": [one.to_value() for one in found],
                "unread": [{"device": one.device, "reason": one.reason} for one in unread],
            }
        )
        return
    _print(found, everything)
    for one in unread:
        console.print(f"{one.device}: its line cannot be read: {one.reason}", highlight=False, markup=False)


def _judged(use_case: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    config = settings_as("reconciler", "signer")
    from components.stores.fleet.lines import FleetLines
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.releases.signer_client import SignerClient
    from kizu.drift_watch import DriftWatch

    lines = FleetLines(S3ObjectStore.from_settings(config), config.bucket("fleet"))
    # The correction counts every comparison, so that a line is judged the same whatever is shown.
    found, unread = DriftWatch(lines, SignerClient.from_settings(config)).judged()
    return tuple(one for one in found if use_case in ("", one.use_case)), unread


def _print(found: tuple[Any, ...], everything: bool) -> None:
    from reconciler.drift import State

    if not found:
        console.print("no device has told of its line yet: a window is full after 500 frames and 10 minutes")
        return
    shown = [one for one in found if everything or one.state in (State.ALERT, State.WATCHED)]
    if shown:
        table = Table(box=None)
        for column in _COLUMNS:
            table.add_column(column)
        for one in shown:
            table.add_row(
                one.device,
                one.use_case,
                one.release_digest[:12],
                Text(one.class_name or "-"),
                str(one.quantity),
                _number(one.from_median),
                _number(one.to_median),
                _number(one.latest.psi if one.latest else None),
                str(one.values),
                str(one.state),
                Text(f"{one.reason}; {one.advice}" if one.advice else one.reason),
            )
        console.print(table)
    counts = ", ".join(f"{sum(one.state is state for one in found)} {state}" for state in State)
    console.print(f"{len(found)} comparisons: {counts}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
