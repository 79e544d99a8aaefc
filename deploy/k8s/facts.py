"""What a cluster is like: read once through kubectl, then a value that rules look at."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.k8s.kubectl import Document, Kubectl, KubectlError, did, items

SERVICES: Final = "kizu"
MARKER: Final = "mlflow-tables"
"""The ConfigMap that says where data are: tables of MLflow (`store`) and of Label Studio (`label_studio`), `sqlite` or
`postgresql`; all objects (`objects`), `seaweedfs` or `external`."""

_ENGINES: Final = (
    "calico",
    "cilium",
    "antrea",
    "kube-router",
    "kube-network-policies",
    "weave",
    "canal",
    "ovnkube",
    "kindnet",
)
_ASKED: Final = (
    ("create", "namespaces", None),
    ("create", "networkpolicies.networking.k8s.io", SERVICES),
    ("create", "secrets", SERVICES),
    ("create", "deployments.apps", SERVICES),
    ("create", "secrets", "<pipelines>"),
    ("create", "roles.rbac.authorization.k8s.io", "<pipelines>"),
    ("create", "networkpolicies.networking.k8s.io", "<pipelines>"),
)


@dataclass(frozen=True, slots=True)
class StorageClass:
    """One class of volumes."""

    name: str
    default: bool
    expands: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """A cluster as the commands need to know it.

    Attributes:
        version: (major, minor) of the API server.
        kfp_version: of Kubeflow Pipelines; empty: it is there, but its image names none; None: it is not there.
        api_server: (address, port) of the API server, as a pod's packets may carry it: of the Service and behind it.
        dns: labels of the DNS pods in kube-system; empty: not found.
        engine: what enforces network policies; None: nothing that is known.
        missing_rights: what the caller may not do.
        volumes: claim of namespace kizu -> its size, as the cluster has it.
        namespaces: name -> labels.
        old_store: the StatefulSet of SeaweedFS still makes its own claim, as versions before did.
        tables: where MLflow's tables are, as the marker says; None: no marker.
        places: where the marker says that the rest is: Label Studio's tables, and all objects.
        kinds: names of the custom resources that the cluster knows; None: the caller may not look.
    """

    version: tuple[int, int]
    storage: tuple[StorageClass, ...] = ()
    kfp_version: str | None = None
    api_server: tuple[tuple[str, int], ...] = ()
    dns: dict[str, str] = field(default_factory=dict)
    engine: str | None = None
    missing_rights: tuple[str, ...] = ()
    volumes: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    old_store: bool = False
    tables: str | None = None
    places: dict[str, str] = field(default_factory=dict)
    kinds: frozenset[str] | None = None


def gather(kubectl: Kubectl, pipelines: str) -> Facts:
    """Look at a cluster. pipelines: the namespace of Kubeflow Pipelines.

    Raises:
        KubectlError: the cluster does not answer, or the caller may not look.
    """
    version = version_of(did(kubectl, "version", "-o", "json"))
    namespaces = {
        item["metadata"]["name"]: dict(item["metadata"].get("labels") or {}) for item in items(kubectl, "namespaces")
    }
    stores = items(kubectl, "statefulsets", "-n", SERVICES)
    markers = items(kubectl, "configmaps", MARKER, "-n", SERVICES) if SERVICES in namespaces else []
    return Facts(
        version=version[0],
        storage=tuple(storage_class(item) for item in items(kubectl, "storageclasses")),
        kfp_version=kfp_version(items(kubectl, "deployments", "-n", pipelines)),
        api_server=api_server(
            items(kubectl, "services", "kubernetes", "-n", "default"),
            items(kubectl, "endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes"),
        ),
        dns=dns_labels(items(kubectl, "services", "-n", "kube-system")),
        engine=policy_engine(items(kubectl, "daemonsets", "-A"), version[1]),
        missing_rights=_missing_rights(kubectl, pipelines),
        volumes={
            item["metadata"]["name"]: item["spec"]["resources"]["requests"]["storage"]
            for item in items(kubectl, "persistentvolumeclaims", "-n", SERVICES)
        },
        namespaces=namespaces,
        old_store=any(
            item["metadata"]["name"] == "seaweedfs" and item["spec"].get("volumeClaimTemplates") for item in stores
        ),
        tables=markers[0]["data"].get("store") if markers else None,
        places={key: value for item in markers for key, value in item["data"].items() if key != "store"},
        kinds=_kinds(kubectl),
    )


def _kinds(kubectl: Kubectl) -> frozenset[str] | None:
    answer = kubectl(("get", "customresourcedefinitions", "-o", "name"))
    if answer.code != 0:  # a right that few have, and that only some components need
        return None
    return frozenset(line.rpartition("/")[2] for line in answer.out.split())


def version_of(text: str) -> tuple[tuple[int, int], str]:
    """Return (major, minor) and the whole version of the API server, from `kubectl version -o json`.

    Raises:
        KubectlError: the answer names none: the cluster did not answer.
    """
    import json

    server: dict[str, Any] = json.loads(text).get("serverVersion") or {}
    whole = str(server.get("gitVersion", ""))
    found = re.match(r"v(\d+)\.(\d+)", whole)
    if found is None:
        raise KubectlError("expected the version of the API server, but the cluster did not answer")
    return (int(found[1]), int(found[2])), whole


def storage_class(document: Document) -> StorageClass:
    """Read one StorageClass."""
    notes = document["metadata"].get("annotations") or {}
    default = notes.get("storageclass.kubernetes.io/is-default-class") == "true"
    return StorageClass(document["metadata"]["name"], default, bool(document.get("allowVolumeExpansion")))


def kfp_version(deployments: list[Document]) -> str | None:
    """Return the version of Kubeflow Pipelines by the image of its API server; see `Facts`."""
    for document in deployments:
        if document["metadata"]["name"] == "ml-pipeline":
            image = str(document["spec"]["template"]["spec"]["containers"][0]["image"])
            found = re.search(r":v?(\d+\.\d+\.\d+[^@]*)", image)
            return found[1] if found else ""
    return None


def api_server(services: list[Document], slices: list[Document]) -> tuple[tuple[str, int], ...]:
    """Return every address of the API server: a policy engine sees a packet before or after it was rewritten."""
    found = [
        (address, int(port["port"]))
        for document in services
        for address in document["spec"].get("clusterIPs") or [document["spec"]["clusterIP"]]
        for port in document["spec"]["ports"]
    ]
    found += [
        (address, int(port["port"]))
        for document in slices
        for endpoint in document.get("endpoints") or ()
        for address in endpoint["addresses"]
        for port in document["ports"]
    ]
    return tuple(dict.fromkeys(found))


def dns_labels(services: list[Document]) -> dict[str, str]:
    """Return the labels of the pods behind the Service that listens for DNS in kube-system."""
    for document in services:
        if any(port["port"] == 53 for port in document["spec"]["ports"]) and document["spec"].get("selector"):
            return dict(document["spec"]["selector"])
    return {}


def policy_engine(daemon_sets: list[Document], version: str) -> str | None:
    """Return what enforces network policies, by the names that the known engines run under."""
    for name in (str(document["metadata"]["name"]) for document in daemon_sets):
        for engine in _ENGINES:
            if engine in name:
                return engine
    return "k3s" if "+k3s" in version else None


def _missing_rights(kubectl: Kubectl, pipelines: str) -> tuple[str, ...]:
    missing = []
    for verb, resource, namespace in _ASKED:
        place = pipelines if namespace == "<pipelines>" else namespace
        where = ("-n", place) if place else ()
        if kubectl(("auth", "can-i", verb, resource, *where)).out.strip() != "yes":
            missing.append(f"{verb} {resource}" + (f" in {place}" if place else ""))
    return tuple(missing)
