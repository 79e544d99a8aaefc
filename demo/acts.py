"""Acts of others on this machine, each as a process with that identity: the reconciler's pass, a person's approval."""

from __future__ import annotations

import subprocess
import sys

from deploy.access.identities import environment_for, mlflow_account
from deploy.access.layout import Layout, base_environment
from deploy.local.runs import RunFailed


def reconcile_once(layout: Layout, group: str) -> None:
    """`kizu reconcile --group …`.

    Raises:
        RunFailed: the pass failed; the message is its own.
    """
    _kizu(["reconcile", "--group", group], environment_for(layout, "reconciler"), "the reconciler's pass")


def approve_as(layout: Layout, account: str, model: str, version: int, *, reason: str) -> None:
    """`kizu approve …` as an account of MLflow, which holds nothing else.

    Raises:
        RunFailed: the server refused; the message is its own.
    """
    environment = base_environment() | {"KIZU_HOME": str(layout.home), "MLFLOW_TRACKING_URI": layout.mlflow_url}
    environment |= mlflow_account(layout, account)
    _kizu(["approve", str(version), "--model", model, "--reason", reason], environment, "the approval")


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
