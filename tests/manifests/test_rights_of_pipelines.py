"""What the pods of the pipelines may do and reach: by their accounts, and by the network policies on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from deploy.k8s.credentials import Addresses, pipeline_accounts
from pipelines.wiring import IDENTITIES, SECRET_KEYS
from tests.manifests.rendered import Document, of_kind, overlay_names, render

pytestmark = pytest.mark.manifests

PIPELINES = "kubeflow"
# What Argo's executor and Kubeflow's driver and launcher use: (group, resource) -> verbs, and names if only some.
NEEDED: dict[tuple[str, str], tuple[set[str], list[str] | None]] = {
    ("argoproj.io", "workflowtaskresults"): ({"create", "patch"}, None),
    ("", "pods"): ({"get"}, None),
    ("", "configmaps"): ({"get"}, ["kfp-launcher"]),
    ("", "secrets"): ({"get"}, ["mlpipeline-minio-artifact"]),
}
# The setting that names a server -> the server's pods and their namespace.
SERVERS = {
    "KIZU_S3_ENDPOINT": ("kizu", "seaweedfs", 8333),
    "MLFLOW_TRACKING_URI": ("kizu", "mlflow", 5000),
    "LABEL_STUDIO_URL": ("kizu", "labelstudio", 8080),
    "KIZU_SIGNER_URL": ("kizu-signer", "signer", 8085),
}


@pytest.mark.parametrize("overlay", overlay_names())
@pytest.mark.parametrize("identity", sorted(set(IDENTITIES.values())))
def test_a_run_has_an_account_of_its_own_that_may_read_no_secret_of_kizu(overlay: str, identity: str) -> None:
    """A training's code cannot fetch the key of the deployment: the account has no right but those that KFP needs."""
    name = pipeline_accounts()[identity]
    assert (PIPELINES, name) in of_kind(overlay, "ServiceAccount")
    roles = list(roles_of(overlay, name))
    granted = {
        (group, resource): (set(rule["verbs"]), rule.get("resourceNames"))
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert granted == NEEDED


def roles_of(overlay: str, account: str) -> Iterator[Document]:
    """The Roles that a ServiceAccount of the pipelines' namespace has. A ClusterRole would be an error here."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": PIPELINES}
    assert not [document for document in render(overlay) if document["kind"] == "ClusterRoleBinding"]
    for (namespace, _), binding in of_kind(overlay, "RoleBinding").items():
        if subject in binding["subjects"]:
            assert binding["roleRef"]["kind"] == "Role"
            yield of_kind(overlay, "Role")[namespace, binding["roleRef"]["name"]]


@pytest.mark.parametrize("overlay", overlay_names())
def test_no_server_lets_in_a_pod_of_the_pipelines_namespace_without_our_label(overlay: str) -> None:
    """Kubeflow's own pods, and those of other people's pipelines, reach neither S3 nor MLflow, nor anything else."""
    seen = 0
    for key, policy in of_kind(overlay, "NetworkPolicy").items():
        for rule in policy["spec"].get("ingress", ()):
            for peer in rule["from"]:
                if namespace_of(peer, key[0]) == PIPELINES and key[0] != PIPELINES:
                    seen += 1
                    assert "kizu-pipeline" in str(peer.get("podSelector")), f"{key} lets in all of {PIPELINES}"
    assert seen


@pytest.mark.parametrize("overlay", overlay_names())
@pytest.mark.parametrize("identity", sorted(set(IDENTITIES.values())))
def test_a_step_reaches_the_servers_that_its_settings_name_and_no_other_server_of_kizu(
    overlay: str, identity: str
) -> None:
    """Both sides say so: the egress of the step, and the ingress of the server."""
    wanted = {SERVERS[key] for key in SECRET_KEYS[identity] if key in SERVERS}
    labels = {"kizu-pipeline": identity}
    for namespace, server, port in SERVERS.values():
        target = {"app.kubernetes.io/name": server}
        leaves = allowed(overlay, "egress", PIPELINES, labels, namespace, target, port)
        enters = allowed(overlay, "ingress", namespace, target, PIPELINES, labels, port)
        assert leaves == enters == ((namespace, server, port) in wanted), f"{identity} and {server}"
    assert {
        value for key, value in asdict(Addresses()).items() if key in ("s3", "mlflow", "label_studio", "signer")
    } == {f"http://{server}.{namespace}.svc:{port}" for namespace, server, port in SERVERS.values()}


@pytest.mark.parametrize("overlay", overlay_names())
def test_a_step_reaches_what_kubeflow_gives_it_and_dns(overlay: str) -> None:
    """Kubeflow's launcher runs in the step's pod: it speaks to Kubeflow's API, ml-metadata and its object store."""
    labels = {"kizu-pipeline": "training"}
    for target, port in (
        ({"app": "ml-pipeline"}, 8887),
        ({"component": "metadata-grpc-server"}, 8080),
        ({"app": "seaweedfs"}, 9000),
    ):
        assert allowed(overlay, "egress", PIPELINES, labels, PIPELINES, target, port), target
    assert allowed(overlay, "egress", PIPELINES, labels, "kube-system", {"k8s-app": "kube-dns"}, 53)
    assert not allowed(overlay, "egress", PIPELINES, labels, PIPELINES, {"app": "mysql"}, 3306)
    assert not allowed(overlay, "egress", PIPELINES, labels, "default", {}, 8333)


def allowed(
    overlay: str,
    side: str,
    namespace: str,
    labels: dict[str, str],
    other_namespace: str,
    other_labels: dict[str, str],
    port: int,
) -> bool:
    """Whether the policies of a pod let it reach (egress), or be reached by (ingress), another pod at a TCP port."""
    for (place, _), policy in of_kind(overlay, "NetworkPolicy").items():
        if place != namespace or not selects(policy["spec"]["podSelector"], labels):
            continue
        for rule in policy["spec"].get(side, ()):
            if {"protocol": "TCP", "port": port} not in rule["ports"]:
                continue
            for peer in rule["to" if side == "egress" else "from"]:
                if (
                    "ipBlock" not in peer
                    and namespace_of(peer, place) == other_namespace
                    and selects(peer.get("podSelector", {}), other_labels)
                ):
                    return True
    return False


def namespace_of(peer: dict[str, Any], own: str) -> str:
    selector = peer.get("namespaceSelector")
    return selector["matchLabels"]["kubernetes.io/metadata.name"] if selector else own


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Kubernetes's rule for the selectors that these manifests use."""
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] in ("In", "Exists"), expression
        value = labels.get(expression["key"])
        if value is None or (expression["operator"] == "In" and value not in expression["values"]):
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def test_the_selectors_rule_of_these_tests_is_kubernetess() -> None:
    """In asks for one of the values, Exists for any, and an empty selector selects every pod."""
    one_of = {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}
    assert selects({}, {})
    assert selects(one_of, {"a": "c"})
    assert not selects(one_of, {"a": "d"})
    assert not selects({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {})
    assert re.fullmatch("kizu-[a-z]+", pipeline_accounts()["training"])
