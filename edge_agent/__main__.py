"""The command `kizu-edge`: runs and controls the agent on this device."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Final

import typer

from edge_agent import __version__, by_operator
from edge_agent.config import load_config, load_credentials
from edge_agent.errors import EdgeError, Unwritable
from edge_agent.ota.operator_command import Command

UNWRITABLE_STATUS: Final = 75
"""The exit status where the state folder cannot be written: EX_TEMPFAIL of <sysexits.h>, a later start may succeed."""

app = typer.Typer(
    help="The edge agent of Kizu: inspects frames on this device, with or without a network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Check the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The device's configuration file (YAML).")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and log more.")]


@app.callback()
def _common(context: typer.Context, debug: _Debug = False) -> None:
    context.obj = debug
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("tuf", "urllib3", "uvicorn", "asyncio", "securesystemslib"):
        logging.getLogger(noisy).setLevel(logging.INFO if debug else logging.WARNING)


@app.command()
def run(config: ConfigFile = Path("config.yaml")) -> None:
    """Inspect frames until Ctrl-C or SIGTERM."""
    # Imported here, since it loads the inference runtime: the other commands must answer at once.
    from edge_agent.assembly import run_agent
    from edge_agent.software.launched import launched
    from edge_agent.watchdog import ServiceManager

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    raise typer.Exit(
        run_agent(load_config(config), stop, ServiceManager.of(os.environ), launched(os.environ), config.absolute())
    )


@app.command()
def status(config: ConfigFile = Path("config.yaml")) -> None:
    """Show what the agent on this device is doing, as JSON. Exits with 1 where it is not ready."""
    answer = by_operator.status(load_config(config))
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    raise typer.Exit(0 if answer.get("ready") else 1)


@app.command()
def selftest(config: ConfigFile = Path("config.yaml")) -> None:
    """Check what the agent needs: disk, camera, S3, releases, broker, golden samples. Exits with 1 if one fails."""
    from edge_agent.selftest import selftest as checks

    failed = 0
    for result in checks(load_config(config)):
        word = {True: "ok", False: "FAILED", None: "-"}[result.ok]
        failed += result.ok is False
        typer.echo(f"{word:8}{result.name}: {result.message}")
    raise typer.Exit(1 if failed else 0)


@config_app.command("check")
def check(config: ConfigFile = Path("config.yaml")) -> None:
    """Read the configuration and the S3 identity that it names, without starting anything."""
    loaded = load_config(config)
    load_credentials(loaded.s3.credentials_file)
    cameras = ", ".join(f"{camera.name} ({camera.source})" for camera in loaded.cameras)
    typer.echo(f"{config} is valid: device {loaded.device} of group {loaded.group}, cameras {cameras}")


@app.command()
def calibrate(
    picture: Annotated[Path, typer.Argument(help="A picture that this camera took, in the size that it inspects.")],
    board: Annotated[str | None, typer.Option(help="Inner corners of a checkerboard, columns x rows: 9x6.")] = None,
    square_mm: Annotated[float | None, typer.Option(help="The side of a square of the checkerboard.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="One end of a known length, in pixels: 120,80.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The other end, in pixels: 1420,82.")] = None,
    length_mm: Annotated[float | None, typer.Option(help="The known length.")] = None,
) -> None:
    """Find how many millimetres a pixel has, from a checkerboard or from two points and a length.

    Prints what to write into the camera's section of the device's file. The board or the length must lie where the part
    lies. Refuses a picture that does not tell.
    """
    from edge_agent import calibration

    typer.echo(calibration.calibrate(picture, board, square_mm, start, end, length_mm).as_yaml(), nl=False)


@app.command()
def rollback(
    leave: Annotated[
        str | None, typer.Option(help="The release to leave, whole digest; refused where another one runs.")
    ] = None,
    config: ConfigFile = Path("config.yaml"),
) -> None:
    """Go back to the previous release at once. The present one is taken again only when it is ordered again."""
    typer.echo(by_operator.give(load_config(config), Command("rollback", leave)))


@app.command()
def pin(
    digest: Annotated[
        str | None, typer.Argument(help="A release that is kept on this device; by default the one that runs.")
    ] = None,
    config: ConfigFile = Path("config.yaml"),
) -> None:
    """Keep running a release that is on this device, whatever is published."""
    typer.echo(by_operator.give(load_config(config), Command("pin", digest)))


@app.command()
def unpin(config: ConfigFile = Path("config.yaml")) -> None:
    """Take new releases again."""
    typer.echo(by_operator.give(load_config(config), Command("unpin")))


@app.command()
def version() -> None:
    """Show the agent's version."""
    typer.echo(__version__)


def main() -> None:
    """Parse the command line, run one command, and exit."""
    debug = "--debug" in sys.argv[1:]
    # typer takes `--debug` before the command only; people write it anywhere.
    arguments = (["--debug"] if debug else []) + [item for item in sys.argv[1:] if item != "--debug"]
    try:
        app(args=arguments, prog_name="kizu-edge")
    except EdgeError as e:
        if debug:
            raise
        sys.stderr.write(f"kizu-edge: {e}\n")
        sys.exit(UNWRITABLE_STATUS if isinstance(e, Unwritable) else 1)


if __name__ == "__main__":
    main()
