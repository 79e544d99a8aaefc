"""Makes the documents of components those of one cluster. Rules over documents and values; they ask nobody."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from deploy.k8s.kubectl import Document
from deploy.k8s.peers import Peer, ValuesError, rule_to
from deploy.k8s.values import Values
from pipelines.wiring import CA_CONFIG_MAP, CA_FOLDER

CA_FILE: Final = f"{CA_FOLDER}/ca.pem"
_PART: Final = {"app.kubernetes.io/part-of": "kizu"}
_EXAMPLE_STORE: Final = "https://s3.kizu.example"
_OUR_STORE: Final = "http://seaweedfs.kizu.svc:8333"
_HOSTS: Final = ("mlflow", "labelstudio", "fleet-page", "seaweedfs")
_PATTERN: Final = "line1"
"""The device of deploy/k8s/components/edge-daemonset, from which each of `edge.devices` is made."""


def shape(documents: Iterable[Document], values: Values, *, ca: str = "") -> list[Document]:
    """Return the documents with the sections of the values file in the place of examples.

    Args:
        ca: certificates of the store's authority, PEM; empty: none of your own.

    Raises:
        ValuesError: a component lacks what only the values file can say.
    """
    found = list(documents)
    for name, change in _CHANGES.items():
        if name in values.components:
            found = list(change(found, values))
    if ca:
        found = [*_with_authority(found), *_authority(values, ca)]
    if values.image_pull_policy:
        for document in found:
            for container in containers_of(document):
                container["imagePullPolicy"] = values.image_pull_policy
    return found


def containers_of(document: Document) -> list[Document]:
    """Return the containers of a document, also those that run first; empty where it runs none."""
    pod = pod_of(document)
    return [*pod.get("initContainers", ()), *pod.get("containers", ())]


def pod_of(document: Document) -> Document:
    """Return the pod that a document runs, {} where it runs none."""
    if document["kind"] not in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
        return {}
    spec = document["spec"]["jobTemplate"]["spec"] if document["kind"] == "CronJob" else document["spec"]
    found: Document = spec["template"]["spec"]
    return found


def _store(documents: list[Document], values: Values) -> Iterator[Document]:
    store = values.s3
    if not store.endpoint:
        raise ValuesError("storage-external: expected the address of the store in s3.endpoint")
    url = urlsplit(store.endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if name == "bucket-setup" and not store.make_buckets:
            continue
        if kind == "ConfigMap":
            data = document["data"]
            for key, text in data.items():
                data[key] = text.replace(_EXAMPLE_STORE, store.endpoint).replace(_OUR_STORE, store.endpoint)
            changed = {"KIZU_S3_REGION": store.region, "KIZU_S3_ADDRESSING": store.addressing}
            if name == "mlflow":
                changed["AWS_DEFAULT_REGION"] = store.region
            data.update({key: value for key, value in changed.items() if key in data})
        elif kind == "NetworkPolicy":
            _put_in_place(document, 443, store.reach, port)
        yield document


def _put_in_place(policy: Document, marked: int, reach: Iterable[Peer], port: int) -> None:
    """Replace the rule for one port of every address by rules for known ones, or for the port that is used."""
    rules: list[Document] = []
    for rule in policy["spec"].get("egress", ()):
        if rule != {"ports": [{"protocol": "TCP", "port": marked}]}:
            rules.append(rule)
        else:
            rules += [rule_to(peer) for peer in reach] or [{"ports": [{"protocol": "TCP", "port": port}]}]
    if "egress" in policy["spec"]:
        policy["spec"]["egress"] = rules


def _with_authority(documents: Iterable[Document]) -> Iterator[Document]:
    names = {
        "bucket-setup": "KIZU_S3_CA_FILE", "reconciler": "KIZU_S3_CA_FILE", "fleet-page": "KIZU_S3_CA_FILE",
        "signer": "KIZU_S3_CA_FILE", "backup": "KIZU_S3_CA_FILE", "mlflow": "AWS_CA_BUNDLE",
        "labelstudio": "AWS_CA_BUNDLE",
    }  # fmt: skip
    for document in documents:
        name = document["metadata"]["name"]
        if document["kind"] == "ConfigMap" and name in names:
            document["data"][names[name]] = CA_FILE
        yield document


def _authority(values: Values, ca: str) -> Iterator[Document]:
    for namespace in ("kizu", "kizu-signer", values.pipelines_namespace):
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CA_CONFIG_MAP, "namespace": namespace, "labels": dict(_PART)},
            "data": {"ca.pem": ca},
        }


def _ingress(documents: list[Document], values: Values) -> Iterator[Document]:
    if not values.ingress_namespace:
        raise ValuesError(
            "ingress-tls: expected the namespace of the ingress controller in ingress_namespace; the network policies "
            "let nobody else in"
        )
    options = values.ingress
    hosts = {
        "mlflow": values.mlflow_host,
        "labelstudio": urlsplit(values.label_studio_public).hostname or "",
        "fleet-page": values.fleet_host,
        "seaweedfs": urlsplit(values.s3_public).hostname or "",
    }
    for document in documents:
        name = document["metadata"]["name"]
        if document["kind"] != "Ingress" or name not in _HOSTS:
            yield document
            continue
        if name == "seaweedfs" and (not hosts[name] or "storage-external" in values.components):
            continue
        if not hosts[name]:
            raise ValuesError(
                "ingress-tls: expected mlflow_host, label_studio_public and fleet_host, but there is none for " + name
            )
        spec, notes = document["spec"], document["metadata"]["annotations"]
        secret = options.secrets.get(name, f"{name}-tls")
        spec["tls"] = [{"hosts": [hosts[name]], "secretName": secret}]
        spec["rules"][0]["host"] = hosts[name]
        if options.class_name:
            spec["ingressClassName"] = options.class_name
        del notes["cert-manager.io/cluster-issuer"]
        if name not in options.secrets:
            notes.update(_issuer_note(values))
        notes.update(options.annotations)
        yield document


def _issuer_note(values: Values) -> dict[str, str]:
    if values.ingress.cluster_issuer:
        return {"cert-manager.io/cluster-issuer": values.ingress.cluster_issuer}
    if values.ingress.issuer:
        return {"cert-manager.io/issuer": values.ingress.issuer}
    raise ValuesError(
        "ingress-tls: expected an issuer of cert-manager (ingress.cluster_issuer or ingress.issuer), or a Secret with "
        "your certificate for each server (ingress.secrets)"
    )


def _monitoring(documents: list[Document], values: Values) -> Iterator[Document]:
    options = values.monitoring
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "ConfigMap" and name == "kizu-alert-rules":
            yield {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": "kizu", "namespace": "kizu", "labels": {**_PART, **options.labels}},
                "spec": yaml.safe_load(document["data"]["rules.yml"]),
            }
            continue
        if kind in ("ServiceMonitor", "PodMonitor"):
            document["metadata"]["labels"].update(options.labels)
        elif kind == "NetworkPolicy" and name.endswith("-metrics"):
            (peer,) = document["spec"]["ingress"][0]["from"]
            peer["namespaceSelector"]["matchLabels"] = {"kubernetes.io/metadata.name": options.namespace}
            peer["podSelector"]["matchLabels"] = dict(options.pods)
        yield document


def _mosquitto(documents: list[Document], values: Values) -> Iterator[Document]:
    options = values.mosquitto
    for document in documents:
        if document["metadata"]["name"] == "mosquitto" and document["metadata"].get("namespace") == "kizu":
            if document["kind"] == "Service":
                document["spec"]["type"] = options.service
            elif document["kind"] == "NetworkPolicy" and options.allowed:
                document["spec"]["ingress"].append(
                    {
                        "from": [{"ipBlock": {"cidr": cidr}} for cidr in options.allowed],
                        "ports": [{"protocol": "TCP", "port": 8883}],
                    }
                )
            elif document["kind"] == "Deployment":
                (volume,) = [item for item in pod_of(document)["volumes"] if item["name"] == "tls"]
                volume["secret"]["secretName"] = options.tls_secret
        yield document
    issuer = values.ingress.cluster_issuer or values.ingress.issuer
    if issuer:
        kind = "ClusterIssuer" if values.ingress.cluster_issuer else "Issuer"
        own = "mosquitto.kizu.svc"
        yield {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": {"name": "mosquitto", "namespace": "kizu", "labels": dict(_PART)},
            "spec": {
                "secretName": options.tls_secret,
                "dnsNames": [options.host, own] if options.host else [own],
                "issuerRef": {"name": issuer, "kind": kind, "group": "cert-manager.io"},
            },
        }


def _edge(documents: list[Document], values: Values) -> Iterator[Document]:
    if not values.edge.devices:
        raise ValuesError("edge-daemonset: expected the names of devices in edge.devices")
    for document in documents:
        name = document["metadata"]["name"]
        if not name.startswith(f"edge-agent-{_PATTERN}"):
            yield document
            continue
        for device in values.edge.devices:
            text = json.dumps(document).replace(f"edge-agent-{_PATTERN}", f"edge-agent-{device.name}")
            text = text.replace(f"kizu-device-{_PATTERN}", f"kizu-device-{device.name}")
            own: Document = json.loads(text.replace(f'"kizu-device": "{_PATTERN}"', f'"kizu-device": "{device.name}"'))
            if own["kind"] == "ConfigMap":
                told: dict[str, Any] = yaml.safe_load(own["data"]["config.yaml"])
                told |= {"device": device.name, "site": device.site, "group": device.group}
                told |= {"use_case": device.use_case, **copy.deepcopy(device.configuration)}
                if values.s3.ca_file and "storage-external" in values.components:
                    told["s3"] = {**told["s3"], "ca_file": "/identity/ca.pem"}
                own["data"]["config.yaml"] = yaml.safe_dump(told, sort_keys=False)
            yield own


def _gpu(documents: list[Document], values: Values) -> Iterator[Document]:
    for document in documents:
        if document["kind"] == "ResourceQuota":
            document["spec"]["hard"] = {f"requests.{values.gpu.resource}": str(values.gpu.limit)}
        yield document


def _kueue(documents: list[Document], values: Values) -> Iterator[Document]:
    options = values.kueue
    quotas = {"cpu": options.cpu, "memory": options.memory}
    if options.gpus:
        quotas[values.gpu.resource] = str(options.gpus)
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "ClusterQueue":
            place = document["spec"]["namespaceSelector"]["matchLabels"]
            place["kubernetes.io/metadata.name"] = values.pipelines_namespace
            (group,) = document["spec"]["resourceGroups"]
            group["coveredResources"] = list(quotas)
            group["flavors"][0]["resources"] = [{"name": n, "nominalQuota": quota} for n, quota in quotas.items()]
        elif kind == "LocalQueue":
            document["metadata"]["name"] = options.queue
        elif kind == "ConfigMap" and name == "reconciler":
            document["data"]["KIZU_KUEUE_QUEUE"] = options.queue
        yield document


def _backup(documents: list[Document], values: Values) -> Iterator[Document]:
    options = values.backup
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if name != "backup" or document["metadata"].get("namespace") != "kizu":
            yield document
            continue
        if kind == "PersistentVolumeClaim" and options.target:
            continue
        if kind == "CronJob":
            document["spec"]["schedule"] = options.schedule
            if options.target:
                pod = pod_of(document)
                pod["volumes"] = [item for item in pod["volumes"] if item["name"] != "target"]
                for container in pod["containers"]:
                    container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] != "target"]
        elif kind == "ConfigMap":
            document["data"]["KIZU_BACKUP_KEEP"] = str(options.keep)
            if options.target:
                document["data"] |= {
                    "KIZU_BACKUP_TARGET": options.target,
                    "KIZU_BACKUP_S3_REGION": options.region,
                    "KIZU_BACKUP_S3_ADDRESSING": options.addressing,
                    **({"KIZU_BACKUP_S3_ENDPOINT": options.endpoint} if options.endpoint else {}),
                }
        elif kind == "NetworkPolicy":
            if options.target:
                url = urlsplit(options.endpoint or "https://")
                port = url.port or (80 if url.scheme == "http" else 443)
                document["spec"]["egress"] += [rule_to(peer) for peer in options.reach] or [
                    {"ports": [{"protocol": "TCP", "port": port}]}
                ]
            if "postgres" in values.components:
                for rule in document["spec"]["egress"]:
                    if rule == {"ports": [{"protocol": "TCP", "port": 5432}]}:
                        rule["to"] = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "postgres"}}}]
        yield document


# In this order: the store's rule for every address is put in its place before the backup adds one of its own.
_CHANGES: Final = {
    "edge-daemonset": _edge,
    "storage-external": _store,
    "ingress-tls": _ingress,
    "monitoring": _monitoring,
    "mosquitto": _mosquitto,
    "gpu": _gpu,
    "kueue": _kueue,
    "backup": _backup,
}
