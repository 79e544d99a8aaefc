"""What documents name of each other: who selects whom, and which ports they mean. It returns what leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploy.k8s.shaping import pod_of
from tests.manifests.rendered import WORKLOADS, Document, Workload

OURS = ("kizu", "kizu-signer")
"""Namespaces whose pods are all in the manifests. Devices and pipelines come and go."""


def dangling(documents: Sequence[Document]) -> list[str]:
    """Each reference that leads nowhere, in words."""
    return list(_dangling(documents))


def _dangling(documents: Sequence[Document]) -> Iterator[str]:
    pods = [Workload(item) for item in documents if item["kind"] in WORKLOADS]
    services = {(d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in documents if d["kind"] == "Service"}
    claims = {(d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents
              if d["kind"] == "PersistentVolumeClaim"}  # fmt: skip
    used = {
        (pod.namespace, volume["persistentVolumeClaim"]["claimName"])
        for pod in pods
        for volume in pod.volumes.values()
        if "persistentVolumeClaim" in volume
    }
    for namespace, name in sorted(claims - used):
        yield f"nothing mounts {namespace}/{name}"
    queues = {item["metadata"]["name"] for item in documents if item["kind"] == "ClusterQueue"}
    flavors = {item["metadata"]["name"] for item in documents if item["kind"] == "ResourceFlavor"}
    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        name, namespace = document["metadata"]["name"], document["metadata"].get("namespace", "")
        where = f"{kind} {namespace}/{name}"
        if kind == "NetworkPolicy" and namespace in OURS and spec["podSelector"]:
            own = selected(pods, namespace, spec["podSelector"])
            if not own:
                yield f"{where} selects nothing"
            for rule in spec.get("ingress", ()):
                yield from (f"{where} lets in to {p}" for p in _ports(rule) - _opened(own))
        if kind == "NetworkPolicy":
            for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
                for peer in (*rule.get("from", ()), *rule.get("to", ())):
                    other = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
                    place = other or namespace
                    if place in OURS and "podSelector" in peer and not selected(pods, place, peer["podSelector"]):
                        yield f"{where} names {peer['podSelector']}, and no pod of {place} is like that"
            for rule in spec.get("egress", ()):
                for peer in rule.get("to", ()):
                    place = peer.get("namespaceSelector", {}).get("matchLabels", {}).get(
                        "kubernetes.io/metadata.name", namespace)  # fmt: skip
                    there = (
                        selected(pods, place, peer["podSelector"]) if place in OURS and "podSelector" in peer else []
                    )
                    yield from (f"{where} leads to {p} of {place}" for p in (_ports(rule) - _opened(there)) if there)
        if kind == "Ingress":
            for rule in spec["rules"]:
                for path in rule["http"]["paths"]:
                    behind = services.get((namespace, path["backend"]["service"]["name"]))
                    ports = {port["name"] for port in behind["spec"]["ports"]} if behind else set()
                    if path["backend"]["service"]["port"]["name"] not in ports:
                        yield f"{where} leads to no Service"
        if kind == "ServiceMonitor":
            found = [s for (place, _), s in services.items() if place == namespace
                     and spec["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()]  # fmt: skip
            ports = {port["name"] for service in found for port in service["spec"]["ports"]}
            if not {endpoint["port"] for endpoint in spec["endpoints"]} <= ports:
                yield f"{where} finds no Service"
        if kind == "PodMonitor":
            names = {port["name"] for pod in selected(pods, namespace, spec["selector"]) for c in pod.containers
                     for port in c["ports"]}  # fmt: skip
            if not {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]} <= names:
                yield f"{where} finds no pod"
        if kind == "LocalQueue" and spec["clusterQueue"] not in queues:
            yield f"{where} is of no ClusterQueue"
        if kind == "ClusterQueue" and not {f["name"] for g in spec["resourceGroups"] for f in g["flavors"]} <= flavors:
            yield f"{where} has an unknown flavor"
        affinity = pod_of(document).get("affinity", {}).get("podAffinity", {})
        for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", ()):
            if not selected(pods, namespace, term["labelSelector"]):
                yield f"{where} wants to be beside nothing"


def selected(pods: Sequence[Workload], namespace: str, selector: Document) -> list[Workload]:
    """The workloads of a namespace whose pods a selector selects, by its labels."""
    labels = selector.get("matchLabels", {}).items()
    return [pod for pod in pods if pod.namespace == namespace and labels <= pod.labels.items()]


def _ports(rule: Document) -> set[int]:
    return {port["port"] for port in rule.get("ports", ())}


def _opened(pods: Sequence[Workload]) -> set[int]:
    return {
        port["containerPort"] for pod in pods for container in pod.containers for port in container.get("ports", ())
    }
