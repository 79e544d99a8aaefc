"""One pass of the reconciler on this machine, as a process with the reconciler's identity."""

from __future__ import annotations

import subprocess
import sys

from deploy.local.identities import environment_for
from deploy.local.layout import Layout
from deploy.local.runs import RunFailed


def reconcile_once(layout: Layout, group: str) -> None:
    """`kizu reconcile --group …`.

    Raises:
        RunFailed: the pass failed; the message is its own.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "reconcile", "--group", group],
        env=environment_for(layout, "reconciler"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise RunFailed(f"the reconciler's pass failed: {done.stderr.strip() or done.stdout.strip()}")
