"""A cluster that answers kubectl's questions from memory, with documents as real API servers send them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.k8s.component_folders import FOLDER
from deploy.k8s.kubectl import _LOADER, Answer, as_yaml
from tests.manifests.rendered import OVERLAYS, render, script

KINDS = {
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "configmaps": "ConfigMap",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "namespaces": "Namespace",
    "storageclasses": "StorageClass",
    "services": "Service",
    "endpointslices": "EndpointSlice",
    "daemonsets": "DaemonSet",
    "secrets": "Secret",
    "secret": "Secret",
    "jobs": "Job",
    "persistentvolumes": "PersistentVolume",
    "customresourcedefinitions": "CustomResourceDefinition",
}
ADDED = "kubectl.kubernetes.io/last-applied-configuration"


def document(kind: str, name: str, namespace: str | None = None, /, **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, **more.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"kind": kind, "metadata": metadata, **more}


def of_a_new_cluster() -> list[dict[str, Any]]:
    """k3s-like: a default class that cannot grow, a DNS Service, the API server, and Kubeflow Pipelines 2.17."""
    return [
        document("Namespace", "default"),
        document("Namespace", "kube-system"),
        document("Namespace", "kubeflow"),
        document(
            "StorageClass", "local-path",
            metadata={"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            provisioner="rancher.io/local-path", volumeBindingMode="WaitForFirstConsumer",
        ),
        document(
            "StorageClass", "fast", provisioner="csi.example.com", allowVolumeExpansion=True,
        ),
        document(
            "Service", "kubernetes", "default",
            spec={"clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1"], "ports": [{"name": "https", "port": 443}]},
        ),
        document(
            "EndpointSlice", "kubernetes", "default",
            metadata={"labels": {"kubernetes.io/service-name": "kubernetes"}}, addressType="IPv4",
            endpoints=[{"addresses": ["192.0.2.10"], "conditions": {"ready": True}}],
            ports=[{"name": "https", "port": 6443, "protocol": "TCP"}],
        ),
        document(
            "Service", "rke2-coredns", "kube-system",
            spec={"selector": {"k8s-app": "coredns"}, "ports": [{"name": "udp-53", "port": 53, "protocol": "UDP"}]},
        ),
        document("DaemonSet", "calico-node", "kube-system"),
        document(
            "Deployment", "ml-pipeline", "kubeflow",
            spec={"template": {"spec": {"containers": [{"image": "registry.internal/kfp-api-server:2.17.0"}]}}},
        ),
    ]  # fmt: skip


@cache
def rendered_once(overlay: str) -> str:
    """An overlay as kustomize prints it."""
    return as_yaml(render(overlay))


@cache
def rendered_with(overlay: str, folders: tuple[str, ...]) -> str:
    """The same with folders of components."""
    with tempfile.TemporaryDirectory() as place:
        place_of = Path(place).resolve()
        document = {
            "resources": [os.path.relpath(OVERLAYS / overlay, place_of)],
            "components": [os.path.relpath(FOLDER / name, place_of) for name in folders],
        }
        (place_of / "kustomization.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        command = [script("kubectl"), "kustomize", str(place_of)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class ClusterInMemory:
    """Implements `deploy.k8s.kubectl.Kubectl`. calls: every command that was run, without what was only asked."""

    def __init__(self, documents: Sequence[dict[str, Any]] = (), version: str = "v1.36.2") -> None:
        self.objects = {self._key(item): item for item in documents or of_a_new_cluster()}
        self.version = version
        self.refused: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.job_ends: bool | None = None

    @staticmethod
    def _key(item: dict[str, Any]) -> tuple[str, str, str]:
        return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]

    def names(self, kind: str) -> set[str]:
        return {name for found, _, name in self.objects if found == kind}

    def __call__(self, arguments: Sequence[str], stdin: str | None = None) -> Answer:
        words = list(arguments)
        if words[0] not in ("get", "version", "auth", "kustomize"):
            self.calls.append(tuple(words))
        return getattr(self, f"_{words[0]}")(words[1:], stdin)

    def _version(self, words: list[str], _: str | None) -> Answer:
        return Answer(0, json.dumps({"clientVersion": {}, "serverVersion": {"gitVersion": self.version}}), "")

    def _auth(self, words: list[str], _: str | None) -> Answer:
        refused = words[2] in self.refused
        return Answer(int(refused), "no\n" if refused else "yes\n", "")

    def _kustomize(self, words: list[str], _: str | None) -> Answer:
        folder = Path(words[0])
        if folder.parent == OVERLAYS:
            return Answer(0, rendered_once(folder.name), "")
        # Overlay and components, in a folder of their own.
        document = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        overlay, parts = Path(document["resources"][0]).name, [Path(path).name for path in document["components"]]
        return Answer(0, rendered_with(overlay, tuple(parts)), "")

    def _get(self, words: list[str], _: str | None) -> Answer:
        options = {words[i]: words[i + 1] for i in range(len(words) - 1) if words[i] in ("-n", "-o", "-l")}
        kinds = [KINDS[kind] for kind in words[0].split(",")]
        found = [
            item
            for (kind, namespace, name), item in self.objects.items()
            if kind in kinds
            and ("-n" not in options or namespace == options["-n"])
            and (len(words) < 2 or words[1].startswith("-") or name == words[1])
        ]
        if options["-o"].startswith("go-template"):
            return Answer(0, " ".join(found[0]["stringData"]), "")
        if options["-o"] == "name":
            return Answer(0, "".join(f"{item['kind'].lower()}/{item['metadata']['name']}\n" for item in found), "")
        if len(words) > 1 and not words[1].startswith("-"):
            return Answer(0, json.dumps(found[0]) if found else "", "")
        return Answer(0, json.dumps({"kind": "List", "items": found}), "")

    def _apply(self, words: list[str], stdin: str | None) -> Answer:
        lines = []
        for item in yaml.load_all(stdin or "", Loader=_LOADER):
            key = self._key(item)
            if key[1] and not any(name == key[1] for kind, _, name in self.objects if kind == "Namespace"):
                return Answer(1, "", f'namespaces "{key[1]}" not found')
            before = self.objects.get(key)
            if before and item["kind"] == "StatefulSet":
                kept = ("volumeClaimTemplates", "serviceName", "selector")
                if any(before["spec"].get(field) != item["spec"].get(field) for field in kept):
                    return Answer(1, "", "updates to statefulset spec for fields other than 'replicas' are forbidden")
            if before and item["kind"] == "Job" and before["spec"] != item["spec"]:
                return Answer(1, "", "field is immutable")
            if item["kind"] == "Job" and self.job_ends is not None:
                item["status"] = {"succeeded" if self.job_ends else "failed": 1}
            self.objects[key] = item
            lines.append(f"{key[0].lower()}/{key[2]} {'unchanged' if before == item else 'configured'}")
        return Answer(0, "\n".join(lines) + "\n", "")

    def _delete(self, words: list[str], stdin: str | None) -> Answer:
        if words[0] == "-f":
            gone = {self._key(item) for item in yaml.load_all(stdin or "", Loader=_LOADER)}
        else:
            short = words[0].partition(".")[0]
            kind = next((found for found, _, _ in self.objects if found.lower() == short), "")
            names = [word for word in words[1:] if not word.startswith("-")]
            namespace = words[words.index("-n") + 1] if "-n" in words else ""
            gone = {(kind, namespace, name) for name in names}
        removed = {name for kind, _, name in gone if kind == "Namespace"}
        self.objects = {key: item for key, item in self.objects.items() if key not in gone and key[1] not in removed}
        return Answer(0, "", "")

    def _scale(self, words: list[str], _: str | None) -> Answer:
        kind, name = words[0].split("/")
        replicas = int(next(word for word in words if word.startswith("--replicas=")).split("=")[1])
        self.objects[kind.title(), words[words.index("-n") + 1], name]["spec"]["replicas"] = replicas
        return Answer(0, "scaled\n", "")

    def _wait(self, words: list[str], _: str | None) -> Answer:
        return Answer(0, "", "")

    def _logs(self, words: list[str], _: str | None) -> Answer:
        return Answer(0, "move: a database refused\n", "")

    def _rollout(self, words: list[str], _: str | None) -> Answer:
        return Answer(0, "successfully rolled out\n", "")
