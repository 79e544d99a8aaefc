"""`kizu reconcile` and `kizu automate`: what follows an approval, labels or the clock, and for which products."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from kizu.commands.fleet import GroupOption
from kizu.context import CommandError, console, is_on_this_machine, layout, note_product, settings_as

if TYPE_CHECKING:
    from kizu.reconciling import PassResult

app = typer.Typer()


@app.command()
def reconcile(
    group: GroupOption = None,
    once: Annotated[bool, typer.Option("--once", help="Make one pass. It is the default without --every.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between passes; 0: one pass.")] = 0.0,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Change nothing: say what a pass sees, would do, and what all else waits for."),
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option(help="With --every: address and port of health, metrics and webhooks, such as 127.0.0.1:8086."),
    ] = None,
    idle: Annotated[bool, typer.Option("--idle-without-products", hidden=True)] = False,
) -> None:
    """Start what follows for the automated products, and move `champion` of every use case and group.

    An approved version is deployed, a training that is due is started, finished labels are collected, and people get
    notices. `kizu automate` says for which products. The alias `champion` follows what whole groups run, always.
    """
    if once and every > 0:
        raise CommandError("expected --once or --every, but got both")
    if (explain or every <= 0) and listen:
        raise CommandError("expected --listen with --every, and without --explain")
    if every > 0 and not explain:
        _serve(every, listen, idle=idle)
        return
    from kizu.reconciling import compose, products_of

    config = settings_as("reconciler", "mlflow", "signer")
    reconciling = compose(config, products_of(config))
    try:
        result = reconciling.run(act=not explain)
        _print_groups(result.groups, group)
        print_products(result, everything=explain)
        reconciling.wait_for_runs()
    finally:
        reconciling.close()
    if result.failures and not explain:
        raise CommandError(f"{result.failures} acts of this pass failed; a later pass tries them again")


def _serve(every_s: float, listen: str | None, *, idle: bool) -> None:
    from kizu.reconciler_service import ReconcilerService

    service = ReconcilerService(
        settings_as("reconciler", "mlflow", "signer"), every_s, listen, idle=idle, say=_say_pass
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, service.stop)
    service.run()


@app.command()
def automate(
    files: Annotated[list[Path] | None, typer.Argument(help="Use case files. Without one: list the products.")] = None,
    off: Annotated[
        str | None, typer.Option("--off", metavar="NAME", help="Start nothing by itself for this product any more.")
    ] = None,
) -> None:
    """Let the loop of a product run by itself on this machine, list such products, or take one out.

    The file is checked and copied; run the command again after you changed it. Runs that are at work go on.
    """
    if files and off:
        raise CommandError("expected files or --off, but got both")
    if not is_on_this_machine():
        raise CommandError(
            "on a cluster the products are in the ConfigMap kizu-use-cases: "
            "kubectl -n kizu create configmap kizu-use-cases --from-file=FILE"
        )
    from reconciler.products import Products, product_of

    products = Products(layout().use_cases)
    if off is not None:
        if not products.take_out(off):
            raise CommandError(f"{off} is not automated; automated are: {', '.join(products.names()) or 'none'}")
        _say(f"{off} starts nothing by itself any more")
        return
    if files:
        from components.use_case import load_use_case
        from deploy.access.identities import allow_approvers
        from deploy.access.layout import make_private

        checked = [product_of(load_use_case(file)) for file in files]  # all are checked before one is copied
        names = [product.name for product in checked]
        if len(set(names)) != len(names):
            raise CommandError(f"expected different use cases, but got {', '.join(names)}")
        make_private(layout().home)
        for file in files:
            product = products.put(file)
            allow_approvers(layout(), product.use_case)
            note_product(product.name)
            _say(f"{product.name} runs by itself while the servers are up")
        return
    served = products.read()
    for product in served.products:
        _say(product.name)
    for name, why in served.damaged.items():
        _say(f"{name} is passed over: {why}")
    if not served.products and not served.damaged:
        _say("no product runs by itself; add one with: kizu automate FILE")


def print_products(result: PassResult, *, everything: bool) -> None:
    """Print what a pass did for each rollout and product; everything: what it saw and what it waits for, too."""
    for rollout in result.rollouts:
        if rollout.desired.rollout is not None and (everything or rollout.acted):
            act, why = rollout.judgement.act, rollout.judgement.why
            _say(f"rollout of {rollout.use_case} in the group {rollout.group}: {act}: {why}")
    for software in result.software:
        if everything or software.acted:
            act, why = software.judgement.act, software.judgement.why
            _say(f"software of the agent for {software.use_case} in the group {software.group}: {act}: {why}")
    for failure in (*result.rollout_failures, *result.drift_failures):
        _say(f"FAILED: {failure}")
    for line in result.drift:
        _say(f"drift: {line}")
    for product in result.products:
        lines = [*(f"  did:   {line}" for line in product.does), *(f"  FAILED: {line}" for line in product.failures)]
        if everything:
            lines = [
                *(f"  sees:  {line}" for line in product.sees),
                *(f"  does:  {line}" for line in product.does),
                *(f"  waits: {line}" for line in product.waits),
                *(f"  FAILED: {line}" for line in product.failures),
            ]
        if lines or everything:
            _say(product.name)
        for line in lines:
            _say(line)


def _say_pass(result: PassResult) -> None:
    print_products(result, everything=False)


def _say(line: Any) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


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
