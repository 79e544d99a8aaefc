"""`make assets` and `make workflow`: the two stages of a team."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tools.assets.making import STEPS, AssetsError, Making
from tools.assets.provenance import ProvenanceError, verify
from tools.signatures import SignatureError
from tools.site_bundle.checksums import BundleError
from tools.site_bundle.plan import REPOSITORY, did, run
from tools.site_bundle.registry import Address, Credentials, Registry
from tools.teams import OF, TEAMS

FOLDER: Final = REPOSITORY / "build" / "assets"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a stage. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="make", description="The two stages of a team.")
    stages = parser.add_subparsers(dest="stage", required=True)
    assets = stages.add_parser("assets", help="test, build, compile, render, and sign")
    workflow = stages.add_parser("workflow", help="submit the team's pipeline")
    for stage in (assets, workflow):
        stage.add_argument("team", choices=TEAMS)
        stage.add_argument("--registry", default="", help="the registry and folder; http://… for one without TLS")
        stage.add_argument("--key", type=Path, help="assets: the private key; workflow: the public key")
    assets.add_argument("--steps", default="", help=f"of {', '.join(STEPS)}; default: all that have what they need")
    assets.add_argument("--user", default="")
    assets.add_argument("--password-file", type=Path)
    workflow.add_argument("--endpoint", default=os.environ.get("KIZU_KFP_ENDPOINT", ""), help="Kubeflow Pipelines")
    workflow.add_argument("--use-case", type=Path, default=REPOSITORY / "use_cases" / "metal-tag.yaml")
    options = parser.parse_args(arguments)
    try:
        return _assets(options) if options.stage == "assets" else _workflow(options)
    except (AssetsError, BundleError, ProvenanceError, SignatureError, RuntimeError, OSError) as e:
        sys.stderr.write(f"{options.stage}: {e}\n")
        return 1


def _assets(options: argparse.Namespace) -> int:
    git = ["git", "-C", str(REPOSITORY)]
    commit = did(run, [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], "git").strip()
    seconds = int(did(run, [*git, "log", "-1", "--format=%ct"], "git"))
    registry = None
    if options.registry:
        account = None
        if options.user and options.password_file:
            account = Credentials(options.user, options.password_file.read_text(encoding="utf-8").strip("\r\n"))
        registry = Registry(Address.parse(options.registry), account)
    making = Making(
        options.team, FOLDER / options.team, commit, datetime.fromtimestamp(seconds, UTC), run, _say, _stream,
        registry, options.key, os.environ.get("KIZU_BUILDER", "make assets"),
    )  # fmt: skip
    making.make(_steps(options.steps, registry is not None, options.key is not None))
    _say(f"{options.team}: {making.folder}")
    return 0


def _steps(text: str, pushes: bool, signs: bool) -> tuple[str, ...]:
    named = text.replace(",", " ").split()
    unknown = sorted(set(named) - set(STEPS))
    if unknown:
        raise AssetsError(f"expected steps of {', '.join(STEPS)}, but got {', '.join(unknown)}")
    left_out = {step for step, wanted in (("push", pushes), ("sign", signs)) if not wanted}
    if not named and left_out:
        _say(f"left out: {', '.join(sorted(left_out))}; REGISTRY=… pushes, KEY=<private key> signs")
    return tuple(step for step in STEPS if step in named or (not named and step not in left_out))


def _workflow(options: argparse.Namespace) -> int:
    folder = FOLDER / options.team
    if options.key is not None:
        verify(folder, options.key)
        _say(f"{options.team}: the assets are as they were signed")
    if not options.endpoint:
        raise AssetsError("expected the address of Kubeflow Pipelines: ENDPOINT=<URL>, or KIZU_KFP_ENDPOINT")
    command = [".venv/bin/kizu", "submit", OF[options.team].pipelines[0], "--endpoint", options.endpoint]
    command += ["--use-case", str(options.use_case)]
    if options.registry:
        command += ["--registry", Address.parse(options.registry).name]
    return _stream(command)


def _stream(command: Sequence[str]) -> int:
    """Run a command in the repository; what it says is seen at once."""
    sys.stdout.flush()
    return subprocess.run(list(command), cwd=REPOSITORY, stdin=subprocess.DEVNULL, check=False).returncode


def _say(line: str) -> None:
    sys.stdout.write(f"assets: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
