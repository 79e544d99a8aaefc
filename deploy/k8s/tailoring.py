"""Makes the manifests of one cluster: an overlay's documents with the values of that cluster. It asks nobody."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from components.container_images import REGISTRY
from deploy.k8s.checks import places_of
from deploy.k8s.facts import MARKER, SERVICES
from deploy.k8s.kubectl import Document
from deploy.k8s.peers import ValuesError, rule_to
from deploy.k8s.shaping import containers_of, shape
from deploy.k8s.values import Values

_PIPELINES: Final = "kubeflow"
_WRITTEN_DNS: Final = {"k8s-app": "kube-dns"}
_WRITTEN_API_SERVER: Final = "10.96.0.1/32"
_EXAMPLE_REGISTRY: Final = "registry.kizu.example/kizu/"
_INGRESS: Final = {"labelstudio": 8080, "mlflow": 5000, "fleet-page": 8088, "seaweedfs": 8333}
"""Server of namespace kizu that people reach through an ingress -> its port."""


class TailoringError(RuntimeError):
    """The values do not suffice for this overlay."""


def tailor(
    documents: Iterable[Document],
    values: Values,
    *,
    tables: str,
    kept: Collection[str] = (),
    examples: bool = False,
    ca: str = "",
) -> list[Document]:
    """Return the documents for a cluster, and a ConfigMap that says where MLflow's tables are.

    Args:
        tables: `sqlite` or `postgresql`.
        kept: claims whose size stays as the cluster has it. They exist, so they are left out.
        examples: let the host names of examples stand, and the components as they are written; for documents that are
            deleted.
        ca: the certificates of the store's own authority, PEM; empty: none.

    Raises:
        TailoringError: an address that only an example has would be applied.
    """
    found = [
        _tailored(copy.deepcopy(document), values)
        for document in documents
        if not (document["kind"] == "PersistentVolumeClaim" and document["metadata"]["name"] in kept)
    ]
    if not examples:
        try:
            found = shape(found, values, ca=ca)
        except ValuesError as e:
            raise TailoringError(str(e)) from e
    found += _more_policies(values)
    found.append(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": MARKER, "namespace": SERVICES, "labels": {"app.kubernetes.io/part-of": "kizu"}},
            "data": {"store": tables, **places_of(found)},
        }
    )
    for document in found:
        if not examples and "kizu.example" in str(document):
            raise TailoringError(
                f"{document['kind']} {document['metadata']['name']} has the example's host name; set "
                "label_studio_public, mlflow_host, fleet_host and registry in the values file, or give them to "
                "`kizu cluster install`"
            )
    return found


def _tailored(document: Document, values: Values) -> Document:
    kind, name = document["kind"], document["metadata"]["name"]
    if document["metadata"].get("namespace") == _PIPELINES:
        document["metadata"]["namespace"] = values.pipelines_namespace
    if kind == "RoleBinding":
        for subject in document["subjects"]:
            subject["namespace"] = values.pipelines_namespace
    elif kind == "NetworkPolicy":
        _policy(document, values)
    elif kind == "PersistentVolumeClaim":
        if name in values.sizes:
            document["spec"]["resources"]["requests"]["storage"] = values.sizes[name]
        if values.storage_class:
            document["spec"]["storageClassName"] = values.storage_class
    elif kind == "ConfigMap":
        _settings(name, document["data"], values)
    elif containers_of(document):
        _pods(document, values)
    return document


def _policy(document: Document, values: Values) -> None:
    spec, name = document["spec"], document["metadata"]["name"]
    if name == "kizu-pipelines-api-server":
        spec["egress"] = [rule_to(peer) for peer in values.api_server]
    for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
        for peer in (*rule.get("from", ()), *rule.get("to", ())):
            place = peer.get("namespaceSelector", {}).get("matchLabels", {})
            if place.get("kubernetes.io/metadata.name") == _PIPELINES:
                place["kubernetes.io/metadata.name"] = values.pipelines_namespace
            if values.dns and peer.get("podSelector", {}).get("matchLabels") == _WRITTEN_DNS:
                peer["podSelector"]["matchLabels"] = dict(values.dns)
        if values.postgresql and rule == {"ports": [{"protocol": "TCP", "port": 5432}]}:
            rule.update(rule_to(values.postgresql))
    if values.ingress_namespace and document["metadata"]["namespace"] == SERVICES and name in _INGRESS:
        place = {"matchLabels": {"kubernetes.io/metadata.name": values.ingress_namespace}}
        spec.setdefault("ingress", []).append(
            {"from": [{"namespaceSelector": place}], "ports": [{"protocol": "TCP", "port": _INGRESS[name]}]}
        )


def _settings(name: str, data: dict[str, str], values: Values) -> None:
    if name == "labelstudio":
        addresses = ",".join(peer.cidr for peer in values.api_server)
        banned = data["USER_ADDITIONAL_BANNED_SUBNETS"]
        data["USER_ADDITIONAL_BANNED_SUBNETS"] = banned.replace(_WRITTEN_API_SERVER, addresses or _WRITTEN_API_SERVER)
        if values.label_studio_public:
            data["LABEL_STUDIO_HOST"] = values.label_studio_public
    elif name == "mlflow":
        data["MLFLOW_SERVER_ALLOWED_HOSTS"] = _hosts(data["MLFLOW_SERVER_ALLOWED_HOSTS"], values.mlflow_host)
    elif name == "fleet-page":
        data["KIZU_FLEET_PAGE_HOSTS"] = _hosts(data["KIZU_FLEET_PAGE_HOSTS"], values.fleet_host)
    elif name == "reconciler":
        data["KIZU_KFP_ENDPOINT"] = data["KIZU_KFP_ENDPOINT"].replace(
            f".{_PIPELINES}.", f".{values.pipelines_namespace}."
        )
        data["KIZU_KFP_NAMESPACE"] = values.pipelines_namespace


def _hosts(known: str, more: str) -> str:
    kept = [host for host in known.split(",") if not (more and host.endswith("kizu.example"))]
    return ",".join(dict.fromkeys([*kept, *([more] if more else [])]))


def _pods(document: Document, values: Values) -> None:
    for container in containers_of(document):
        own = str(container["image"]).removeprefix(_EXAMPLE_REGISTRY).removeprefix(f"{REGISTRY}/")
        if values.registry:
            container["image"] = f"{values.registry.rstrip('/')}/{own}"
        command = container.get("command", [])
        if "--allow-origin" in command and values.label_studio_public:
            url = urlsplit(values.label_studio_public)
            command[command.index("--allow-origin") + 1] = f"{url.scheme}://{url.netloc}"


def _more_policies(values: Values) -> Iterator[Document]:
    if values.pipelines_reach:
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": "kizu-pipelines-reach",
                "namespace": values.pipelines_namespace,
                "labels": {"app.kubernetes.io/part-of": "kizu"},
            },
            "spec": {
                "podSelector": {"matchExpressions": [{"key": "kizu-pipeline", "operator": "Exists"}]},
                "policyTypes": ["Egress"],
                "egress": [rule_to(peer) for peer in values.pipelines_reach],
            },
        }
