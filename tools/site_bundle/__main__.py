"""`make bundle`: says what a bundle will hold and how large it is, and makes it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from components.container_images import TAG
from components.use_case import UseCaseError
from tools.signatures import SignatureError
from tools.site_bundle import bills, folders, images, kubeflow, weights, wheels
from tools.site_bundle.bundling import PARTS, Origin, announce, chosen_parts, make
from tools.site_bundle.checksums import BundleError
from tools.site_bundle.mirror import MirrorError
from tools.site_bundle.plan import REPOSITORY, Plan, did, run
from tools.site_bundle.wheel_choice import ChoiceError

if TYPE_CHECKING:
    from components.settings import Settings

LOCKS: Final = "uv edge control labeling data mlflow labelstudio"
DEVICE_KINDS: Final = "3.11-x86_64 3.11-aarch64"
SERVER_KINDS: Final = "3.11-x86_64"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a bundle. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="make bundle", description="Write one folder to carry into a closed site.")
    parser.add_argument("target", type=Path, metavar="TO")
    parser.add_argument("--parts", default="", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--locks", default=LOCKS, help="whose packages the part wheels holds")
    parser.add_argument("--device-kinds", default=DEVICE_KINDS)
    parser.add_argument("--server-kinds", default=SERVER_KINDS)
    parser.add_argument("--images", default="", help="images that the part images has to hold, besides Kizu's")
    parser.add_argument("--kfp-manifests", type=Path, help="manifests/kustomize of a checkout of Kubeflow Pipelines")
    parser.add_argument("--weights", default="", help="files with base weights")
    parser.add_argument("--key", type=Path, help="the private key that signs the list of files")
    parser.add_argument("--plan", action="store_true", help="say what a bundle would hold, and write nothing")
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        sys.stdout.write(f"bundle: {line}\n")
        sys.stdout.flush()

    try:
        plans = list(_plans(options, chosen_parts(options.parts)))
        announce(plans, say)
        if not options.plan:
            make(options.target.resolve(), plans, _origin(), say, options.key)
    except (BundleError, ChoiceError, MirrorError, SignatureError, UseCaseError, RuntimeError, OSError) as e:
        sys.stderr.write(f"bundle: {e}\n")
        return 1
    return 0


def _plans(options: argparse.Namespace, parts: Sequence[str]) -> Iterator[Plan]:
    """The plans in the order in which they are made: the bills read the licences of the wheels, so they come last."""
    named: tuple[str, ...] = ()
    kfp = None
    if "kubeflow" in parts:
        kfp, named = kubeflow.plan(options.kfp_manifests, run)
    if "images" in parts:
        docker = os.environ.get("KIZU_DOCKER", "docker")
        yield images.plan(docker, options.images.split(), named, run)
    if "wheels" in parts:
        kinds = options.device_kinds.split(), options.server_kinds.split()
        yield wheels.plan(options.locks.split(), *kinds, run)
    if "manifests" in parts:
        yield folders.manifests(run)
    if "pipelines" in parts:
        yield folders.pipelines()
    if kfp is not None:
        yield kfp
    if "weights" in parts:
        yield weights.plan([Path(each).expanduser() for each in options.weights.split()], _installation())
    if "docs" in parts:
        yield folders.docs(run)
    if "source" in parts:
        yield folders.source(run)
    if "sbom" in parts:
        yield bills.plan(datetime.fromisoformat(_origin().made_at))


def _installation() -> Settings | None:
    """The settings of the servers of this machine; None where they are not up."""
    from kizu.context import CommandError, require_servers_here, settings_here

    try:
        require_servers_here("s3")
        return settings_here("training")
    except CommandError:
        return None


def _origin() -> Origin:
    """This commit and its time, so that a bundle of the same commit has the same description."""
    git = ["git", "-C", str(REPOSITORY)]
    commit = did(run, [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], "git").strip()
    seconds = int(did(run, [*git, "log", "-1", "--format=%ct"], "git"))
    return Origin(TAG, commit, datetime.fromtimestamp(seconds, UTC).isoformat())


if __name__ == "__main__":
    sys.exit(main())
