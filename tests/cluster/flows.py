"""Who connects to whom: the flows that the product needs, written down apart from the manifests that allow them."""

from __future__ import annotations

from collections.abc import Mapping

from tests.cluster.own_names import OwnNames
from tests.cluster.probes import Client

TARGETS: Mapping[str, str] = {
    "s3": "seaweedfs.kizu.svc:8333",
    "mlflow": "mlflow.kizu.svc:5000",
    "label-studio": "labelstudio.kizu.svc:8080",
    "signer": "signer.kizu-signer.svc:8085",
    "reconciler": "reconciler.kizu.svc:8086",
    "fleet-page": "fleet-page.kizu.svc:8088",
    "device": "edge.kizu-edge.svc:8090",
    "kubeflow": "ml-pipeline.kubeflow.svc:8888",
}
ALLOWED: Mapping[str, frozenset[str]] = {
    "mlflow": frozenset({"s3"}),
    "labelstudio": frozenset({"s3"}),
    "reconciler": frozenset({"s3", "mlflow", "label-studio", "signer", "kubeflow"}),
    "fleet-page": frozenset({"s3", "mlflow", "signer"}),
    "bucket-setup": frozenset({"s3"}),
    "signer": frozenset({"s3", "mlflow"}),
    "edge": frozenset({"s3"}),
    "labeling": frozenset({"s3", "mlflow", "label-studio", "kubeflow"}),
    "training": frozenset({"s3", "mlflow", "kubeflow"}),
    "deployment": frozenset({"s3", "mlflow", "signer", "kubeflow"}),
    "nobody-kizu": frozenset(),
    "nobody-signer": frozenset(),
    "nobody-edge": frozenset(),
    # A pod beside the pipelines without their label. What it may ask of Kubeflow is Kubeflow's.
    "nobody-pipelines": frozenset({"kubeflow"}),
}


def clients(names: OwnNames) -> list[Client]:
    """A pod in the place of each client: its namespace and its labels."""
    at = names.namespaces
    servers = {
        "mlflow": "kizu",
        "labelstudio": "kizu",
        "reconciler": "kizu",
        "fleet-page": "kizu",
        "bucket-setup": "kizu",
        "signer": "kizu-signer",
        "edge": "kizu-edge",
    }
    found = [Client(name, at[namespace], {"app.kubernetes.io/name": name}) for name, namespace in servers.items()]
    found += [Client(name, names.pipelines, {"kizu-pipeline": name}) for name in ("labeling", "training", "deployment")]
    found += [
        Client("nobody-kizu", at["kizu"]),
        Client("nobody-signer", at["kizu-signer"]),
        Client("nobody-edge", at["kizu-edge"]),
        Client("nobody-pipelines", names.pipelines),
    ]
    return found


def forbidden_requests(names: OwnNames) -> list[str]:
    """What no step of a pipeline may ask of the API server: `METHOD path`."""
    pipelines = f"/api/v1/namespaces/{names.pipelines}"
    signer = f"/api/v1/namespaces/{names.namespaces['kizu-signer']}"
    return [
        f"GET {pipelines}/secrets",
        *(f"GET {pipelines}/secrets/kizu-{pipeline}" for pipeline in ("labeling", "training", "deployment")),
        f"POST {pipelines}/pods",
        f"POST {pipelines}/pods/any/exec",
        f"POST {pipelines}/secrets",
        f"GET {signer}/secrets/kizu-signer-keys",
        f"GET /api/v1/namespaces/{names.namespaces['kizu']}/secrets/kizu-mlflow-accounts",
        "GET /api/v1/secrets",
    ]
