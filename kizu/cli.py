"""The command `kizu`: its groups of commands, its options, and its exit codes.

Commands import step libraries and clients of servers inside their functions, so that `kizu --help` needs none of them.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

# report, reopen and rename add to `labels`, import_formats to `import`, rollouts to `deploy`, agent_rollout to
# `agent`
from kizu.commands import (
    agent,
    agent_rollout,  # noqa: F401
    approval,
    backup,
    cluster,
    doctor,
    drift,
    enrolment,
    exchange,
    export,
    fleet,
    fleet_page,
    import_formats,  # noqa: F401
    keys,
    kubeflow,
    labels,
    new,
    reconcile,
    rename,  # noqa: F401
    reopen,  # noqa: F401
    report,  # noqa: F401
    rollouts,  # noqa: F401
    runs,
    servers,
    shadow,
    trace,
    train,
)
from kizu.context import CommandError

app = typer.Typer(
    name="kizu",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Visual quality inspection without a cloud account: label, train, approve, deploy, inspect, and again.",
)
app.add_typer(servers.app)
app.add_typer(new.app)
app.add_typer(exchange.import_app, name="import")
app.command("ingest", help="Images into the raw bucket: the same as `kizu import images`.")(exchange.import_images)
app.add_typer(export.export_app, name="export")
app.add_typer(labels.labels_app, name="labels")
app.add_typer(runs.app)
app.add_typer(kubeflow.app)
app.add_typer(train.app)
app.add_typer(approval.app)
app.add_typer(fleet.app)
app.add_typer(shadow.shadow_app, name="shadow")
app.add_typer(agent.agent_app, name="agent")
app.add_typer(reconcile.app)
app.add_typer(drift.app)
app.add_typer(fleet_page.app)
app.add_typer(enrolment.app)
app.add_typer(trace.app)
app.add_typer(keys.app, name="keys")
app.add_typer(doctor.app)
app.add_typer(backup.app, name="backup")
app.add_typer(cluster.app, name="cluster")


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


def _has_a_trace(error: Exception) -> bool:
    """Whether a trace says more than the message: not where the parser or a command itself found what is wrong."""
    of_the_words = hasattr(error, "format_message")
    return not of_the_words and not (isinstance(error, CommandError) and error.__cause__ is None)


def main() -> None:
    """Run the command. An error prints one line (with --debug, the whole trace) and gives an exit code other than 0."""
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
        if said:  # the parser has printed the help instead of a message
            print(f"kizu: {said}{' (--debug shows the trace)' if _has_a_trace(e) else ''}", file=sys.stderr)  # noqa: T201
        sys.exit(getattr(e, "exit_code", 1))
    sys.exit(code if isinstance(code, int) else 0)
