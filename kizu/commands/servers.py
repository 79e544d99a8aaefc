"""`kizu up`, `down`, `status`, `logs` and `demo`: the servers of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from kizu.context import CommandError, console, of_this_machine
from kizu.context import layout as installation

app = typer.Typer()


@app.command()
def up(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in the foreground. Ctrl-C stops all servers.")
    ] = False,
) -> None:
    """Start the servers on this machine: S3, MLflow, Label Studio, signer, MQTT broker, reconciler, and fleet page."""
    stack = of_this_machine("deploy.local.stack")

    layout = installation()
    _make_keys_once(layout)
    if foreground:
        stack.foreground(layout, on_progress=console.print)
        return
    with console.status("starting"):
        stack.up(layout, on_progress=lambda line: console.print(f"  {line}", highlight=False))
    _print_status(stack.status(layout))
    console.print("Stop with: kizu down (or make down)")


def _make_keys_once(layout: Any) -> None:
    from components.deployment import keys
    from deploy.access.layout import make_private

    make_private(layout.home)
    keys.init_once(layout.home / "root-key", layout.keys)


@app.command()
def down() -> None:
    """Stop the servers. Their data stays."""
    stack = of_this_machine("deploy.local.stack")

    stack.down(installation())
    console.print("all stopped; the data stays in", str(installation().home), highlight=False)


@app.command()
def status() -> None:
    """Show which servers run, and where."""
    stack = of_this_machine("deploy.local.stack")

    found = stack.status(installation())
    _print_status(found)
    if not found.healthy:
        raise typer.Exit(1)


def _print_status(found: Any) -> None:
    table = Table(box=None)
    for column in ("service", "state", "where", ""):
        table.add_column(column)
    for service in found.services:
        table.add_row(service.name, service.state, service.url or "", service.detail or "")
    if not found.services:
        console.print("nothing runs; start with: kizu up")
    else:
        console.print(table)


@app.command()
def logs(
    service: Annotated[
        str | None,
        typer.Argument(help="s3, mlflow, label-studio, signer, mqtt, reconciler or fleet-page. Default: all"),
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n")] = 40,
) -> None:
    """Show the last lines of the servers' logs."""
    stack = of_this_machine("deploy.local.stack")

    for name, text in stack.logs(installation(), service, lines=lines):
        console.rule(name)
        console.print(text, markup=False, highlight=False)


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A folder of real images with labels.csv or boxes.csv. Default: generated ones.")
    ] = None,
    use_case: Annotated[
        str | None,
        typer.Option(help="With --data: a shipped use case by name, or a file. Default: metal-tag-public."),
    ] = None,
    people: Annotated[
        str, typer.Option(help="stand-in: two programs work in Label Studio; real: the demo waits for you.")
    ] = "stand-in",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove the demo's state, and start from the beginning.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop all servers at the end.")] = False,
    rounds: Annotated[
        int,
        typer.Option(
            min=2,
            max=3,
            help="2: the demo starts each step. 3: the reconciler starts what follows from what people do, with three "
            "devices, and takes back the bad model of the second round.",
        ),
    ] = 2,
    start: Annotated[
        str | None,
        typer.Option(help="good: begin with 30 good parts and not one defect, and show what the device marks."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A very short demo for tests. Its model is not usable.")
    ] = False,
) -> None:
    """Run the whole loop on this machine: twice, or three times with the reconciler."""
    loop = of_this_machine("demo.loop")

    if people not in ("stand-in", "real"):
        raise CommandError(f"expected --people stand-in or real, but got {people!r}")
    if use_case and not data:
        raise CommandError("expected --data with --use-case: the generated images show metal tags")
    if start not in (None, "good"):
        raise CommandError(f"expected --start good, but got {start!r}")
    if start and (data or quick or rounds == 3):
        raise CommandError("expected --start good alone: it has parts of its own, and one round")
    if rounds == 3 and (data or quick):
        raise CommandError("expected --rounds 2 with --data or --quick: three rounds need the generated parts")
    raise typer.Exit(
        loop.run(
            installation(),
            loop.DemoOptions(
                data=data,
                use_case=use_case,
                real_people=people == "real",
                fresh=fresh,
                stop=stop,
                quick=quick,
                rounds=rounds,
                start=start or "",
            ),
            console,
        )
    )
