"""What an acceptance run does without a cluster: its own names, its probes, its table."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys

import pytest

from deploy.k8s.values import Peer, Values
from tests.cluster.acts import lacking
from tests.cluster.conftest import as_installed
from tests.cluster.flows import ALLOWED, TARGETS, clients
from tests.cluster.own_names import RUN_LABEL, OwnNames
from tests.cluster.probes import CONNECTIONS, Client, probe_pod
from tests.cluster.table import Outcome, Row, markdown
from tests.manifests.rendered import render
from tests.manifests.test_rights_of_pipelines import allowed

PEER = "kubernetes.io/metadata.name"
OWN = OwnNames("trial", "flows", "registry.example.com/kizu")


def test_names_of_namespaces_change_wherever_a_document_says_them():
    """Own names replace the namespace of an object, of a peer, of a subject, and of a host, and nothing else."""
    document = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "kizu", "namespace": "kizu-signer", "labels": {"part-of": "kizu"}},
        "peers": [
            {"kubernetes.io/metadata.name": "kubeflow"},
            {"key": "kubernetes.io/metadata.name", "values": ["kizu"]},
        ],
        "subjects": [{"kind": "ServiceAccount", "name": "kizu-labeling", "namespace": "kubeflow"}],
        "data": {"URL": "http://seaweedfs.kizu.svc:8333,signer.kizu-signer.svc.cluster.local", "BUCKET": "kizu-raw"},
        "image": "kizu/control:0.1.0",
    }
    assert OWN.rename(document) == {
        "kind": "NetworkPolicy",
        "metadata": {"name": "kizu", "namespace": "trial-signer", "labels": {"part-of": "kizu", RUN_LABEL: "trial"}},
        "peers": [
            {"kubernetes.io/metadata.name": "flows"},
            {"key": "kubernetes.io/metadata.name", "values": ["trial"]},
        ],
        "subjects": [{"kind": "ServiceAccount", "name": "kizu-labeling", "namespace": "flows"}],
        "data": {"URL": "http://seaweedfs.trial.svc:8333,signer.trial-signer.svc.cluster.local", "BUCKET": "kizu-raw"},
        "image": "registry.example.com/kizu/control:0.1.0",
    }


@pytest.mark.manifests
def test_no_document_of_a_run_names_the_namespaces_of_an_installation():
    """A run beside an installation changes nothing of it: no document of the overlay leads to its namespaces."""
    documents = [OWN.rename(document) for document in render("local")]
    places = {d["metadata"].get("namespace", d["metadata"]["name"]) for d in documents}
    assert places <= {"trial", "trial-signer", "trial-edge", "flows"}
    text = json.dumps(documents)
    assert not re.search(r"\b(kizu|kizu-signer|kizu-edge|kubeflow)\.svc", text)
    assert not re.search(r'"kubernetes.io/metadata.name": "(kizu|kubeflow)', text)
    assert '"image": "kizu/' not in text


@pytest.mark.manifests
def test_a_run_installs_what_the_values_of_its_cluster_say():
    """Steps reach the stores and the API server that the values name, as after `kizu cluster install`."""
    stores, server = Peer("192.0.2.10/32", (9000,)), Peer("192.0.2.1/32", (6443,))
    documents = as_installed(Values(pipelines_reach=(stores,), api_server=(server,), storage_class="fast"))
    policies = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"}
    reached = [
        (rule["to"][0]["ipBlock"]["cidr"], [port["port"] for port in rule["ports"]])
        for name in ("kizu-pipelines-reach", "kizu-pipelines-api-server")
        for rule in policies[name]["egress"]
    ]
    assert reached == [("192.0.2.10/32", [9000]), ("192.0.2.1/32", [6443])]
    claims = [d["spec"] for d in documents if d["kind"] == "PersistentVolumeClaim"]
    assert claims
    assert {spec["storageClassName"] for spec in claims} == {"fast"}
    places = {OWN.rename(d)["metadata"].get("namespace", "-") for d in documents if d["kind"] != "Namespace"}
    assert places <= {"trial", "trial-signer", "trial-edge", "flows"}


def test_every_client_has_its_flows():
    """Each pod that is probed has a list of what it may reach, and each target that is named exists."""
    assert {client.name for client in clients(OWN)} == set(ALLOWED)
    assert set().union(*ALLOWED.values()) <= set(TARGETS)


@pytest.mark.manifests
@pytest.mark.parametrize("client", clients(OwnNames("kizu")), ids=lambda client: client.name)
def test_the_manifests_allow_the_flows_that_a_run_expects_and_no_other(client: Client):
    """What a run expects of the connections of each pod is what the policies of both sides say."""
    for name, address in TARGETS.items():
        host, _, port = address.partition(":")
        service, namespace, _ = host.split(".")
        target = {"app": service} if name == "kubeflow" else {"app.kubernetes.io/name": service}
        labels = dict(client.labels)
        leaves = allowed("local", "egress", client.namespace, labels, namespace, target, int(port))
        enters = allowed("local", "ingress", namespace, target, client.namespace, labels, int(port))
        if client.name == "nobody-pipelines":  # what leaves an unlabelled pod there is Kubeflow's
            leaves = True
        if name == "kubeflow":  # what enters Kubeflow's servers is Kubeflow's
            enters = True
        assert (leaves and enters) == (name in ALLOWED[client.name]), f"{client.name} -> {name}"


def test_a_probe_tells_open_ports_from_closed_ones():
    """The program of a probe prints, for each address, whether a connection opened."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        closed = silent.getsockname()[1]
        opened = server.getsockname()[1]
        asked = [f"127.0.0.1:{opened}", f"127.0.0.1:{closed}"]
        done = subprocess.run(
            [sys.executable, "-c", CONNECTIONS, "0", *asked], capture_output=True, text=True, timeout=60, check=True
        )
    assert json.loads(done.stdout) == {asked[0]: True, asked[1]: False}


def test_a_probe_is_never_ready_and_has_a_token_only_where_it_is_asked_for():
    """A probe with the labels of a server gets none of its requests, and no account unless one is named."""
    pod = probe_pod(Client("mlflow", "trial", {"app.kubernetes.io/name": "mlflow"}), "trial", CONNECTIONS, ["0", "a:1"])
    assert pod["spec"]["readinessGates"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    named = probe_pod(Client("training", "flows"), "trial", CONNECTIONS, ["0", "a:1"], account="kizu-training")
    assert named["spec"]["automountServiceAccountToken"] is True
    assert named["spec"]["serviceAccountName"] == "kizu-training"


def test_the_table_says_what_held_what_failed_and_what_was_left_out():
    """The table has one line for each check, with what was seen on one line, and counts them."""
    rows = [
        Row("a", Outcome.HELD, 1.2, "seen"),
        Row("b", Outcome.FAILED, 3.0, "two\nlines | and a bar"),
        Row("c", Outcome.LEFT_OUT, 0.0, "no Kubeflow Pipelines"),
    ]
    assert markdown(["Kubernetes v1"], rows).splitlines() == [
        "- Kubernetes v1",
        "",
        "| Check | Outcome | s | Seen |",
        "|---|---|---:|---|",
        "| a | held | 1 | seen |",
        "| b | FAILED | 3 | two lines \\| and a bar |",
        "| c | left out | 0 | no Kubeflow Pipelines |",
        "",
        "1 held, 1 FAILED, 1 left out",
    ]


def test_images_that_no_node_has_are_named_before_a_run_waits_for_them():
    """A run says at its beginning which images are missing. A node tells of its largest fifty only, and is believed."""
    has = {"status": {"images": [{"names": ["docker.io/kizu/data:0.1.0", "docker.io/kizu/data@sha256:0"]}]}}
    also = {"status": {"images": [{"names": ["registry.example.com/kizu/labeling:0.1.0"]}, {"names": None}]}}
    wanted = ["kizu/data:0.1.0", "kizu/labeling:0.1.0", "kizu/control:0.1.0"]
    assert lacking([has, also], wanted) == ["kizu/control:0.1.0"]
    assert lacking([{"status": {}}], wanted) == wanted
    full = {"status": {"images": [{"names": [f"docker.io/library/image:{number}"]} for number in range(50)]}}
    assert lacking([has, full], wanted) == []
