"""Runs the reconciler's pass and what a person does, each in its own process with its own identity."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.access.identities import environment_for, mlflow_account
from deploy.access.layout import Layout, base_environment
from deploy.local.runs import RunFailed


def reconcile_once(layout: Layout) -> None:
    """Run `kizu reconcile`, for every use case and group.

    Raises:
        RunFailed: the pass failed. The message is the command's error.
    """
    _kizu(["reconcile"], environment_for(layout, "reconciler"), "the reconciler's pass")


def approve_as(layout: Layout, account: str, model: str, version: int, *, reason: str) -> None:
    """Run `kizu approve …` with an MLflow account. The process has no other credentials.

    Raises:
        RunFailed: the server refused. The message is the command's error.
    """
    environment = base_environment() | {"KIZU_HOME": str(layout.home), "MLFLOW_TRACKING_URI": layout.mlflow_url}
    environment |= mlflow_account(layout, account)
    _kizu(["approve", str(version), "--model", model, "--reason", reason], environment, "the approval")


def automate(layout: Layout, file: Path) -> None:
    """Run `kizu automate FILE`, so that the loop of the file's product runs by itself.

    Raises:
        RunFailed: the file has a mistake. The message is the command's error.
    """
    _kizu(["automate", str(file)], base_environment() | {"KIZU_HOME": str(layout.home)}, "kizu automate")


def automate_no_more(layout: Layout, name: str) -> None:
    """Run `kizu automate --off NAME` where the product is automated, so that nothing starts by itself any more.

    Raises:
        RunFailed: the command failed. The message is the command's error.
    """
    if any(layout.use_cases.glob(f"{name}.*")):
        _kizu(["automate", "--off", name], base_environment() | {"KIZU_HOME": str(layout.home)}, "kizu automate --off")


def _kizu(arguments: list[str], environment: dict[str, str], what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kizu", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise RunFailed(f"{what} failed: {done.stderr.strip() or done.stdout.strip()}")
