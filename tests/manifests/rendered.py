"""Overlays as kustomize renders them, and the parts of them that rules look at."""

from __future__ import annotations

import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.k8s.component_folders import kustomization
from deploy.k8s.kubectl import _LOADER

REPOSITORY = Path(__file__).resolve().parents[2]
OVERLAYS = REPOSITORY / "deploy" / "k8s" / "overlays"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
# Overlay and components, as the values file names them. Together they hold every component on what it changes.
WITH_COMPONENTS = (
    "local+storage-external+backup",
    "local+postgres+backup",
    "prod+postgres-external+backup",
    "local+ingress-tls+monitoring+mosquitto+edge-daemonset+gpu+kueue+backup",
    "airgap+storage-external+postgres+ingress-tls+monitoring+mosquitto+edge-daemonset+gpu+kueue+backup",
)

Document = dict[str, Any]


def overlay_names() -> list[str]:
    return sorted(path.name for path in OVERLAYS.iterdir() if path.is_dir())


def script(name: str) -> str:
    """A command of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def rendered_names() -> list[str]:
    """The overlays, and those with components."""
    return [*overlay_names(), *WITH_COMPONENTS]


@cache
def render(overlay: str) -> tuple[Document, ...]:
    """All documents of an overlay, or of `<overlay>+<component>+…`."""
    name, *components = overlay.split("+")
    with tempfile.TemporaryDirectory() as place:
        text = kustomization(OVERLAYS / name, components, Path(place))
        (Path(place) / "kustomization.yaml").write_text(text, encoding="utf-8")
        folder = place if components else str(OVERLAYS / name)
        done = subprocess.run([script("kubectl"), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return tuple(document for document in yaml.load_all(done.stdout, Loader=_LOADER) if document)


def added(overlay: str) -> list[Document]:
    """The documents that components added to an overlay or changed there; of an overlay itself, all."""
    name, *components = overlay.split("+")
    return [item for item in render(overlay) if not components or item not in render(name)]


@dataclass(frozen=True)
class Workload:
    """Something that runs pods."""

    document: Document

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.document["metadata"]["namespace"])

    @property
    def app(self) -> str:
        """What its label calls it: its account and its policy have this name."""
        return self.labels["app.kubernetes.io/name"]

    @property
    def template(self) -> Document:
        spec = self.document["spec"]
        return dict((spec["jobTemplate"]["spec"] if self.kind == "CronJob" else spec)["template"])

    @property
    def pod(self) -> Document:
        return dict(self.template["spec"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def init_containers(self) -> list[Document]:
        return list(self.pod.get("initContainers", []))

    @property
    def containers(self) -> list[Document]:
        return list(self.pod["containers"])

    @property
    def volumes(self) -> dict[str, Document]:
        return {volume["name"]: volume for volume in self.pod.get("volumes", [])}

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def workloads(overlay: str) -> Iterator[Workload]:
    for document in render(overlay):
        if document["kind"] in WORKLOADS:
            yield Workload(document)


def of_kind(overlay: str, kind: str) -> dict[tuple[str, str], Document]:
    """(namespace, name) -> document."""
    return {
        (document["metadata"]["namespace"], document["metadata"]["name"]): document
        for document in render(overlay)
        if document["kind"] == kind
    }


def secret_keys_used(workload: Workload) -> set[tuple[str, str | None]]:
    """(Secret, key) of each reference in a pod without which it does not start.

    None stands for the Secret as a whole, as a volume takes it.
    """
    used: set[tuple[str, str | None]] = set()
    for container in (*workload.init_containers, *workload.containers):
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and not reference.get("optional"):
                used.add((reference["name"], reference["key"]))
        for source in container.get("envFrom", []):
            if "secretRef" in source and not source["secretRef"].get("optional"):
                used.add((source["secretRef"]["name"], None))
    for volume in workload.volumes.values():
        if "secret" in volume:
            used.add((volume["secret"]["secretName"], None))
    return used
