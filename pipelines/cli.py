"""The command `kizu`: the composition root, which wires rules and steps to servers.

Step libraries and servers' clients are imported inside the commands: `kizu --help` needs none of them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

# cli_report adds to `labels`
from pipelines import (
    cli_devices,
    cli_doctor,
    cli_exchange,
    cli_export,
    cli_labels,
    cli_report,  # noqa: F401
    cli_trace,
    cli_train,
)
from pipelines.command import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, use_own_account
from pipelines.command import layout as _layout
from pipelines.command import use_case as _use_case
from pipelines.command import use_identity as _use_identity

app = typer.Typer(
    name="kizu",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Visual quality inspection without a cloud account: label, train, approve, deploy, inspect, and again.",
)
keys_app = typer.Typer(no_args_is_help=True, help="The keys that sign releases.")
app.add_typer(keys_app, name="keys")
app.add_typer(cli_devices.app)
app.add_typer(cli_exchange.import_app, name="import")
app.add_typer(cli_export.export_app, name="export")
app.add_typer(cli_labels.labels_app, name="labels")
app.add_typer(cli_doctor.app)
app.add_typer(cli_train.app)
app.add_typer(cli_trace.app)


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole trace of an error.")] = False,
) -> None:
    context.obj = {"debug": debug}
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s", force=True
    )
    for chatty in ("urllib3", "botocore", "boto3", "s3transfer", "httpcore", "httpx", "asyncio", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING if debug else logging.ERROR)


@app.command()
def up(foreground: Annotated[bool, typer.Option("--foreground", help="Stay here; Ctrl-C stops all.")] = False) -> None:
    """Start the servers on this machine: S3, MLflow, Label Studio, the signer, an MQTT broker."""
    from deploy.local import stack

    layout = _layout()
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

    if not (layout.keys / keys.ROOT_FILE).exists():
        keys.init(layout.home / "root-key", layout.keys)


@app.command()
def down() -> None:
    """Stop the servers; their data stays."""
    from deploy.local import stack

    stack.down(_layout())
    console.print("all stopped; the data stays in", str(_layout().home), highlight=False)


@app.command()
def status() -> None:
    """Which servers run, and where."""
    from deploy.local import stack

    found = stack.status(_layout())
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
        str | None, typer.Argument(help="s3, mlflow, label-studio, signer or mqtt; all by default")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n")] = 40,
) -> None:
    """The last lines of the servers' logs."""
    from deploy.local import stack

    for name, text in stack.logs(_layout(), service, lines=lines):
        console.rule(name)
        console.print(text, markup=False, highlight=False)


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A folder of real images with labels.csv; generated ones else.")
    ] = None,
    people: Annotated[
        str, typer.Option(help="stand-in: two programs work in Label Studio; real: it waits for you.")
    ] = "stand-in",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin again: removes the demo's state.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop all servers at the end.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A very short one, for the tests: it proves the way, not the model.")
    ] = False,
) -> None:
    """The whole loop, twice, on this machine."""
    from deploy.local.demo import DemoOptions, run

    if people not in ("stand-in", "real"):
        raise CommandError(f"expected --people stand-in or real, but got {people!r}")
    raise typer.Exit(
        run(
            _layout(),
            DemoOptions(data=data, real_people=people == "real", fresh=fresh, stop=stop, quick=quick),
            console,
        )
    )


def _run(pipeline: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from deploy.local.runs import run_pipeline

    return run_pipeline(_layout(), pipeline, arguments)


def _show(outputs: dict[str, Any]) -> None:
    for key, value in outputs.items():
        console.print(f"{key:>20}  {value}", highlight=False, markup=False)


app.command("ingest", help="Images into the raw bucket: the same as `kizu import images`.")(cli_exchange.import_images)


@app.command()
def label(
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    wait: Annotated[int, typer.Option(help="Seconds to wait for people; 0 collects what is done and leaves.")] = 0,
) -> None:
    """Run the labeling pipeline: tasks for people, and their approved labels into the label store."""
    _show(_run("labeling", {"use_case": _use_case(use_case).to_json(), "wait_s": wait}))


def _decide(model: str, version: int, decision: Any, reason: str, account: str | None, password_file: Any) -> None:
    use_own_account(account, password_file)
    from components.approval import decide_approval
    from components.model_registry import ModelRegistry
    from components.settings import settings

    found = decide_approval(ModelRegistry.from_settings(settings()), model, version, decision, reason=reason)
    console.print(f"{model} version {version} is {decision}, by {found.tags.get('approval_by', 'nobody')}")


VersionArgument = Annotated[int, typer.Argument(help="The model version, as MLflow shows it.", min=1)]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="The model's name: that of its use case.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Kept with the version.")]
AccountOption = Annotated[
    str | None, typer.Option("--account", help="Your account of MLflow; MLFLOW_TRACKING_USERNAME else, or it asks.")
]
PasswordFileOption = Annotated[
    Path | None, typer.Option(help="A file with your password alone; MLFLOW_TRACKING_PASSWORD else, or it asks.")
]


@app.command()
def approve(
    version: VersionArgument,
    model: ModelOption = "metal-tag",
    reason: ReasonOption = "",
    account: AccountOption = None,
    password_file: PasswordFileOption = None,
) -> None:
    """Approve a registered version as your own account; the same as setting its tag `approval` in MLflow."""
    _decide(model, version, "approved", reason, account, password_file)


@app.command()
def reject(
    version: VersionArgument,
    model: ModelOption = "metal-tag",
    reason: ReasonOption = "",
    account: AccountOption = None,
    password_file: PasswordFileOption = None,
) -> None:
    """Reject a registered version as your own account."""
    _decide(model, version, "rejected", reason, account, password_file)


@app.command()
def deploy(
    version: Annotated[int, typer.Argument(help="The approved version; 0: the newest approved one.")] = 0,
    use_case: UseCaseOption = DEFAULT_USE_CASE,
) -> None:
    """Run the deployment pipeline: the signer publishes the release and what the group should run."""
    _show(_run("deployment", {"use_case": _use_case(use_case).to_json(), "version": version}))


def _pass_over(group: str, *, act: bool) -> Any:
    _use_identity("reconciler")
    from components.deployment.signer_client import SignerClient
    from components.model_registry import ModelRegistry
    from components.object_store import S3ObjectStore
    from components.settings import settings
    from pipelines.ports import MlflowChampions, S3Fleet
    from pipelines.reconciler import group_state
    from pipelines.reconciler import reconcile as one_pass

    config = settings()
    signer = SignerClient(config.required("signer_url"))
    fleet = S3Fleet(S3ObjectStore.from_settings(config), config.bucket("fleet"))
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
    """Compare what devices report with what they should run, and move `champion` where all of them do."""
    while True:
        _print_group(_pass_over(group, act=True), group)
        if every <= 0:
            return
        time.sleep(every)


@app.command()
def devices(group: GroupOption = "line") -> None:
    """What each device runs, and what it should run. Looks, and changes nothing."""
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


@keys_app.command("init")
def keys_init(
    root_folder: Annotated[Path, typer.Argument(help="For the root key; keep it offline.")],
    signer_folder: Annotated[Path, typer.Option("--signer", help="For the signer's three keys and root.json.")],
) -> None:
    """Make the keys that sign releases. Existing keys are never overwritten."""
    from components.deployment.keys import init

    root = init(root_folder, signer_folder)
    console.print(f"root key in {root_folder} (keep it offline), signer's keys in {signer_folder}", highlight=False)
    console.print(f"devices pin {root} at enrolment", highlight=False)


@app.command("compile")
def compile_command(
    output: Annotated[Path | None, typer.Option(help="A folder; pipelines/compiled/ without it.")] = None,
    use_case: Annotated[
        Path | None, typer.Option(help="Whose `resources` and detector the steps that train get.")
    ] = None,
) -> None:
    """Compile the pipelines to pipelines/compiled/, or as a use case needs them to another folder."""
    from pipelines.compile import FOLDER, compile_all
    from pipelines.training_pod import for_use_case

    if use_case is not None and output is None:
        raise CommandError("expected --output with --use-case: pipelines/compiled/ is the same for all use cases")
    asks = _use_case(use_case) if use_case is not None else None
    for path in compile_all(output or FOLDER):
        if asks is not None:
            path.write_text(for_use_case(path.read_text(encoding="utf-8"), asks), encoding="utf-8")
        console.print(str(path), highlight=False)


@app.command()
def submit(
    pipeline: Annotated[str, typer.Argument(help="labeling, training or deployment")],
    endpoint: Annotated[str, typer.Option(envvar="KIZU_KFP_ENDPOINT", help="The Kubeflow Pipelines API.")],
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    argument: Annotated[list[str] | None, typer.Option("--argument", "-a", help="NAME=VALUE, JSON or text.")] = None,
    namespace: Annotated[str, typer.Option(help="The namespace of Kubeflow Pipelines.")] = "kubeflow",
    registry: Annotated[str | None, typer.Option(help="Where the cluster finds the images.")] = None,
) -> None:
    """Upload a compiled pipeline to Kubeflow Pipelines and start it."""
    from pipelines.compile import FOLDER, PIPELINES
    from pipelines.submit import submit as submit_run

    if pipeline not in PIPELINES:
        raise CommandError(f"expected one of {', '.join(PIPELINES)}, but got {pipeline!r}")
    arguments: dict[str, Any] = {"use_case": _use_case(use_case).to_json()}
    for item in argument or []:
        name, separator, value = item.partition("=")
        if not separator:
            raise CommandError(f"expected --argument NAME=VALUE, but got {item!r}")
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    run_id = submit_run(
        FOLDER / f"{pipeline}.yaml",
        arguments,
        endpoint=endpoint,
        namespace=namespace,
        experiment=_use_case(use_case).name,
        registry=registry,
        use_case=_use_case(use_case),
    )
    console.print(f"started run {run_id}", highlight=False)


def main() -> None:
    """Run the command; an error is one line and a code that is not zero, unless --debug asks for more."""
    debug = "--debug" in sys.argv[1:]
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except Exception as e:
        if debug:
            raise
        parser = getattr(e, "format_message", None)
        said = parser() if parser else str(e) or type(e).__name__
        if said:  # without a word, the parser has shown the help in its place
            print(f"kizu: {said} (--debug shows the trace)", file=sys.stderr)  # noqa: T201
        sys.exit(getattr(e, "exit_code", 1))
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
