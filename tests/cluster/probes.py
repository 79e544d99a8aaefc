"""Pods that wear the labels of another, and try what must be allowed and what must be refused."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components import container_images
from tests.cluster.kubectl import Kubectl, KubectlFailed
from tests.cluster.own_names import RUN_LABEL, Document

IMAGE = f"{container_images.REGISTRY}/control:{container_images.TAG}"
WAIT_S = 180

SETTLE_S = 15
# Prints which of `host:port` accept a connection. A port that nothing answers on within 5 s is closed. An engine knows
# the address of a new pod some seconds after the pod began: until then it may allow and refuse wrongly.
CONNECTIONS = """
import json, socket, sys, time
from concurrent.futures import ThreadPoolExecutor
def opens(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
        return True
    except OSError:
        return False
time.sleep(float(sys.argv[1]))
targets = sys.argv[2:]
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(dict(zip(targets, pool.map(opens, targets)))))
"""

# Prints the status that the API server answers to each `METHOD path`, with the pod's own token.
REQUESTS = """
import json, ssl, sys, urllib.error, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount"
token = open(account + "/token").read()
trust = ssl.create_default_context(cafile=account + "/ca.crt")
def status(request):
    method, _, path = request.partition(" ")
    body = b"{}" if method in ("POST", "PATCH") else None
    asked = urllib.request.Request("https://kubernetes.default.svc" + path, body, method=method)
    asked.add_header("Authorization", "Bearer " + token)
    asked.add_header("Content-Type", "application/json")
    try:
        return urllib.request.urlopen(asked, context=trust, timeout=20).status
    except urllib.error.HTTPError as e:
        return e.code
print(json.dumps({request: status(request) for request in sys.argv[1:]}))
"""


@dataclass(frozen=True, slots=True)
class Client:
    """Whose place a probe takes: a namespace of this run, and the labels of the pod."""

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)


def probe_pod(
    client: Client, run: str, script: str, arguments: list[str], *, account: str | None = None, image: str = IMAGE
) -> Document:
    """A pod in the place of `client` that runs a script and ends. account: the ServiceAccount whose token it gets.

    It is never ready, so no Service sends it the requests of the server whose labels it wears.
    """
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": account is not None,
        "enableServiceLinks": False,
        "readinessGates": [{"conditionType": "kizu.test/never"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "probe",
                "image": image,
                "command": ["python", "-c", script, *arguments],
                "resources": {
                    "requests": {"cpu": "10m", "memory": "64Mi"},
                    "limits": {"cpu": "1", "memory": "256Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    if account is not None:
        spec["serviceAccountName"] = account
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"probe-{client.name}",
            "namespace": client.namespace,
            "labels": {**client.labels, RUN_LABEL: run},
        },
        "spec": spec,
    }


def results(kubectl: Kubectl, pods: list[Document], wait_s: float = WAIT_S) -> dict[str, dict[str, Any]]:
    """Run probes side by side and remove them. Returns, for each pod's name, what it printed.

    Raises:
        KubectlFailed: a probe did not end well within `wait_s`.
    """
    places = {pod["metadata"]["name"]: pod["metadata"]["namespace"] for pod in pods}
    kubectl.apply(pods)
    try:
        end = time.monotonic() + wait_s
        printed: dict[str, dict[str, Any]] = {}
        while len(printed) < len(places):
            for name in places.keys() - printed.keys():
                phase = kubectl.json("-n", places[name], "get", "pod", name)["status"].get("phase")
                if phase == "Succeeded":
                    printed[name] = json.loads(kubectl.run("-n", places[name], "logs", name))
                elif phase == "Failed" or time.monotonic() > end:
                    said = kubectl.run("-n", places[name], "logs", name, check=False)
                    raise KubectlFailed(f"expected {name} to end within {wait_s:.0f} s, but it is {phase}: {said}")
            time.sleep(1)
        return printed
    finally:
        for name, namespace in places.items():
            kubectl.run(
                "-n", namespace, "delete", "pod", name, "--ignore-not-found", "--grace-period=1", "--wait=false"
            )
