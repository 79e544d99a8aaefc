"""Moves MLflow's tables from their volume to PostgreSQL, by a Job in the image that MLflow runs in."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deploy.k8s.facts import MARKER, SERVICES, Facts
from deploy.k8s.installation import Installation, InstallationError
from deploy.k8s.kubectl import Document, KubectlError, did, items
from deploy.k8s.peers import Peer
from deploy.k8s.tailoring import tailor

JOB: Final = "mlflow-migration"
_URI: Final = "MLFLOW_BACKEND_STORE_URI"
_LIMIT_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Migration:
    """One move on one cluster. sleep: waits between two looks at the Job."""

    installation: Installation
    sleep: Callable[[float], None] = time.sleep

    def run(self, facts: Facts) -> None:
        """Stop MLflow, move its tables, and note where they are now. MLflow stays stopped until the next install.

        Running it again after an interruption goes on: the Job copies in one transaction.

        Raises:
            InstallationError: there is nothing to move, no database is named, or the Job failed. In the last case
                MLflow runs again on its volume.
            KubectlError: kubectl refused an act.
        """
        kubectl, values = self.installation.kubectl, self.installation.values.completed(facts)
        if facts.tables == "postgresql":
            raise InstallationError(
                "MLflow's tables are in PostgreSQL already; run: kizu cluster install --overlay prod"
            )
        if "mlflow" not in facts.volumes:
            raise InstallationError("there is no volume mlflow in the namespace kizu, so there are no tables to move")
        local = self.installation.overlay("local")
        documents = tailor(
            [*job_documents(local, values.postgresql)], values, tables="sqlite", examples=True, kept=("mlflow",)
        )
        documents = [item for item in documents if item["metadata"]["name"] == JOB]
        if self.installation.dry_run:
            self.installation.apply(documents)
            return
        keys = did(
            kubectl, "get", "secret", "kizu-mlflow", "-n", SERVICES,
            "-o", "go-template={{range $key, $value := .data}}{{$key}} {{end}}",
        )  # fmt: skip
        if _URI not in keys.split():
            raise InstallationError(
                "the Secret kizu-mlflow names no database; run: kizu cluster secrets --mlflow-database <file>"
            )
        self.installation.say("MLflow is stopped")
        did(kubectl, "scale", "deployment/mlflow", "--replicas=0", "-n", SERVICES)
        did(
            kubectl, "wait", "pod", "-l", "app.kubernetes.io/name=mlflow", "-n", SERVICES,
            "--for=delete", "--timeout=300s",
        )  # fmt: skip
        self.installation.delete("job", JOB, "-n", SERVICES)
        self.installation.apply(documents)
        if not self._succeeds():
            said = kubectl(("logs", f"job/{JOB}", "-n", SERVICES, "--tail=20")).out.strip()
            did(kubectl, "scale", "deployment/mlflow", "--replicas=1", "-n", SERVICES)
            raise InstallationError(f"the tables were not moved, and MLflow runs again as before. The Job said: {said}")
        self.installation.apply([marker("postgresql", facts.places)])
        self.installation.delete("job", JOB, "-n", SERVICES)
        self.installation.say("moved; MLflow is stopped until you run: kizu cluster install --overlay prod")

    def _succeeds(self) -> bool:
        for _ in range(_LIMIT_S // 2):
            for document in items(self.installation.kubectl, "jobs", JOB, "-n", SERVICES):
                status = document.get("status") or {}
                if status.get("succeeded"):
                    return True
                if status.get("failed"):
                    return False
            self.sleep(2.0)
        raise KubectlError(
            f"the Job {JOB} did not end within {_LIMIT_S} s; look at: kubectl -n kizu describe job {JOB}"
        )


def marker(tables: str, places: Mapping[str, str]) -> Document:
    """Return the ConfigMap that says where data are. tables: MLflow's. places: the rest, as `Facts.places`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": MARKER, "namespace": SERVICES, "labels": {"app.kubernetes.io/part-of": "kizu"}},
        "data": {"store": tables, **places},
    }


def job_documents(local: Sequence[Document], postgresql: Peer | None) -> list[Document]:
    """Return the Job that moves the tables and its network policy, made from MLflow's own Deployment.

    So it has the image, the user, the volume and the security of that.

    Args:
        local: the documents of the overlay that keeps the tables on a volume.
        postgresql: where the database is; None: any address at port 5432.
    """
    deployment = next(d for d in local if d["kind"] == "Deployment" and d["metadata"]["name"] == "mlflow")
    labels = {"app.kubernetes.io/name": JOB, "app.kubernetes.io/part-of": "kizu"}
    pod: dict[str, Any] = copy.deepcopy(deployment["spec"]["template"]["spec"])
    (container,) = pod["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe", "ports", "args"):
        container.pop(probe, None)
    container["name"] = JOB
    container["command"] = [
        "python",
        "-m",
        "components.approval_server.move_tables",
        "--from",
        "sqlite:////data/mlflow.db",
    ]
    container["envFrom"] = []
    container["env"] = [{"name": _URI, "valueFrom": {"secretKeyRef": {"name": "kizu-mlflow", "key": _URI}}}]
    pod["restartPolicy"] = "Never"
    egress: dict[str, Any] = {"ports": [{"protocol": "TCP", "port": 5432}]}
    if postgresql is not None:
        egress = {
            "to": [{"ipBlock": {"cidr": postgresql.cidr}}],
            "ports": [{"protocol": "TCP", "port": port} for port in postgresql.ports],
        }
    metadata = {"name": JOB, "namespace": SERVICES, "labels": labels}
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata,
            "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Egress"], "egress": [egress]},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": _LIMIT_S,
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]
