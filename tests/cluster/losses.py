"""Pods that are lost in the middle of work: one of each server, and that of a step of a pipeline."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.cluster.acts import running_pod
from tests.cluster.conftest import Acceptance
from tests.cluster.own_names import Document

KINDS: Mapping[str, tuple[str, ...]] = {
    "kizu": ("seaweedfs", "mlflow", "labelstudio", "reconciler", "fleet-page"),
    "kizu-signer": ("signer",),
    "kizu-edge": ("edge",),
}
"""Namespace of the manifests -> the servers of which a pod is lost."""
STEP_WAIT_S = 600.0
_NODE = "workflows.argoproj.io/node-name"


def at_work(pods: Sequence[Document], step: str) -> str | None:
    """The name of the running pod of a pipeline's step; None where there is none. Its driver is not meant.

    Argo names each node by its path: `training-abcde.root(0).train-detector(0).executor(0)`.
    """
    named = re.compile(rf"\.{re.escape(step)}(\(|\.|$)")
    for pod in pods:
        metadata, status = pod["metadata"], pod["status"]
        if "deletionTimestamp" in metadata or not named.search(metadata.get("annotations", {}).get(_NODE, "")):
            continue
        main = [s for s in status.get("containerStatuses", []) if s["name"] == "main" and "running" in s["state"]]
        if status.get("phase") == "Running" and main:
            return str(metadata["name"])
    return None


def lose_servers(run: Acceptance, lost: list[str]) -> None:
    """Delete a pod of each server, one after the other; `lost` gets the name of each."""
    for namespace, kinds in KINDS.items():
        for kind in kinds:
            pod = running_pod(run.kubectl, run.namespace(namespace), kind)
            run.kubectl.run("-n", run.namespace(namespace), "delete", "pod", pod, "--wait=false")
            lost.append(kind)
            time.sleep(2)


def lose_step(run: Acceptance, pipeline: str, step: str, lost: list[str], stop: threading.Event) -> None:
    """Wait until a step is at work, and delete its pod; `lost` then gets its name."""
    end = time.monotonic() + STEP_WAIT_S
    while time.monotonic() < end and not stop.wait(1.0):
        pods = run.kubectl.items("pod", "-n", run.names.pipelines, "-l", f"kizu-pipeline={pipeline}")
        found = at_work(pods, step)
        if found is not None:
            stop.wait(5.0)  # it imports its libraries; it is deleted in the middle of something
            run.kubectl.run("-n", run.names.pipelines, "delete", "pod", found, "--wait=false")
            lost.append(step)
            return


@contextmanager
def meanwhile(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something beside the block. At the block's end it is told to stop, and its error is the block's."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def watched() -> None:
        try:
            act(stop)
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=watched, name="losses", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=300)
    if failed:
        raise failed[0]
