"""What a cluster has and lacks: rules over facts, values and documents. They ask nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from components.quantities import byte_count
from deploy.k8s.facts import SERVICES, Facts
from deploy.k8s.kubectl import Document
from deploy.k8s.shaping import pod_of
from deploy.k8s.values import Values

OLDEST: Final = (1, 30)
TRIED_KFP: Final = "2.17"
STORE_VOLUME: Final = "data-seaweedfs-0"
_NEEDS: Final = {
    "monitoring": ("servicemonitors.monitoring.coreos.com", "the Prometheus Operator"),
    "kueue": ("clusterqueues.kueue.x-k8s.io", "Kueue"),
}
"""Component -> the custom resource that it needs, and who brings it."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    WAITING = "waiting"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. do: what to do, empty where nothing is to be done."""

    what: str
    level: Level
    found: str
    do: str = ""


def judge(facts: Facts, values: Values) -> list[Finding]:
    """Say of each thing that Kizu needs whether the cluster has it."""
    return list(_findings(facts, values))


def _findings(facts: Facts, values: Values) -> Iterator[Finding]:
    version = f"{facts.version[0]}.{facts.version[1]}"
    if facts.version >= OLDEST:
        yield Finding("Kubernetes", Level.OK, version)
    else:
        yield Finding("Kubernetes", Level.MISSING, version, f"upgrade it to {OLDEST[0]}.{OLDEST[1]} or newer")
    yield _storage(facts, values)
    place = values.pipelines_namespace
    if facts.kfp_version is None:
        yield Finding(
            "Kubeflow Pipelines", Level.MISSING, f"no Deployment ml-pipeline in {place}",
            "install it, or name its namespace: pipelines_namespace in the values file",
        )  # fmt: skip
    elif facts.kfp_version.startswith(f"{TRIED_KFP}."):
        yield Finding("Kubeflow Pipelines", Level.OK, facts.kfp_version)
    else:
        yield Finding(
            "Kubeflow Pipelines", Level.WARNING, facts.kfp_version or "of an unknown version",
            f"Kizu was tried with {TRIED_KFP}",
        )  # fmt: skip
    yield from _pod_security(facts, place)
    if facts.engine:
        yield Finding("network policies", Level.OK, f"{facts.engine} enforces them")
    else:
        yield Finding(
            "network policies", Level.WARNING, "no engine that is known by name",
            "make sure that something enforces them: without it every pod reaches every server",
        )  # fmt: skip
    dns = values.dns or facts.dns
    if dns:
        yield Finding("DNS", Level.OK, ", ".join(f"{key}={value}" for key, value in dns.items()))
    else:
        yield Finding("DNS", Level.MISSING, "no DNS Service in kube-system", "put the labels of its pods into `dns`")
    if values.api_server or facts.api_server:
        found = [f"{address}:{port}" for address, port in facts.api_server]
        yield Finding("API server", Level.OK, ", ".join(found) or "from the values file")
    else:
        yield Finding("API server", Level.MISSING, "no address was found", "put it into `api_server`")
    if values.registry:
        yield Finding("registry", Level.OK, values.registry)
    else:
        yield Finding(
            "registry", Level.WARNING, "none: every node must have the images",
            "import them on each node, or push them and set --registry",
        )  # fmt: skip
    yield from _components(facts, values)
    if facts.missing_rights:
        yield Finding("your rights", Level.MISSING, f"not: {'; '.join(facts.missing_rights)}", "ask an administrator")
    else:
        yield Finding("your rights", Level.OK, "enough")


def _components(facts: Facts, values: Values) -> Iterator[Finding]:
    needs = {name: _NEEDS[name] for name in values.components if name in _NEEDS}
    if "ingress-tls" in values.components and (values.ingress.cluster_issuer or values.ingress.issuer):
        needs["ingress-tls"] = ("certificates.cert-manager.io", "cert-manager")
    for name, (kind, owner) in needs.items():
        if facts.kinds is None:
            yield Finding(
                name, Level.WARNING, f"you may not look whether {owner} is there", f"make sure that it has {kind}"
            )
        elif kind in facts.kinds:
            yield Finding(name, Level.OK, f"{owner} is there")
        else:
            yield Finding(
                name, Level.MISSING, f"no {kind}", f"install {owner} first, or take {name} out of `components`"
            )


def _storage(facts: Facts, values: Values) -> Finding:
    names = [item.name for item in facts.storage]
    if values.storage_class:
        if values.storage_class in names:
            return Finding("storage class", Level.OK, values.storage_class)
        return Finding(
            "storage class", Level.MISSING, f"no {values.storage_class}, but {', '.join(names) or 'none'}",
            "correct storage_class in the values file",
        )  # fmt: skip
    default = next((item.name for item in facts.storage if item.default), None)
    if default:
        return Finding("storage class", Level.OK, f"{default} (default)")
    return Finding(
        "storage class", Level.MISSING, f"no default among {', '.join(names) or 'none'}",
        "mark one as default, or name one: --storage-class",
    )  # fmt: skip


def _pod_security(facts: Facts, pipelines: str) -> Iterator[Finding]:
    for namespace in (SERVICES, "kizu-signer", "kizu-edge", pipelines):
        level = facts.namespaces.get(namespace, {}).get("pod-security.kubernetes.io/enforce")
        if namespace in facts.namespaces and level != "restricted" and namespace != pipelines:
            yield Finding(
                "Pod Security", Level.WARNING, f"{namespace} enforces {level or 'nothing'}",
                "install sets it to restricted",
            )  # fmt: skip
        elif namespace == pipelines and namespace in facts.namespaces:
            yield Finding("Pod Security", Level.OK, f"{namespace} enforces {level or 'nothing'}; steps fit restricted")


def tables_of(documents: Sequence[Document]) -> str:
    """Return where these manifests keep MLflow's tables: `sqlite` or `postgresql`."""
    own = any(d["kind"] == "PersistentVolumeClaim" and d["metadata"]["name"] == "mlflow" for d in documents)
    return "sqlite" if own else "postgresql"


def places_of(documents: Sequence[Document]) -> dict[str, str]:
    """Return where these manifests keep the rest, as the marker says it: Label Studio's tables, and all objects."""
    maps = [d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "labelstudio"]
    own_store = any(d["kind"] == "StatefulSet" and d["metadata"]["name"] == "seaweedfs" for d in documents)
    return {
        "label_studio": "postgresql" if any("DJANGO_DB" in d["data"] for d in maps) else "sqlite",
        "objects": "seaweedfs" if own_store else "external",
    }


def refuse_other_places(facts: Facts, wanted: Mapping[str, str]) -> str | None:
    """Say why an installation must not go on: what is in Label Studio's tables or in the store would be left behind."""
    has = {
        "label_studio": facts.places.get("label_studio") or ("sqlite" if "labelstudio" in facts.volumes else None),
        "objects": facts.places.get("objects") or ("seaweedfs" if STORE_VOLUME in facts.volumes else None),
    }
    words = {
        "label_studio": "Label Studio's projects, tasks and people",
        "objects": "images, labels, models and releases",
    }
    left = [f"{words[key]} ({now}, now {wanted[key]})" for key, now in has.items() if now and now != wanted[key]]
    if not left:
        return None
    return (
        f"these manifests keep elsewhere, and would begin without: {'; '.join(left)}. Move them first "
        "(docs/how-to/backup-and-restore.md), then say --data-moved; or keep the components as they were"
    )


def refuse_empty_registry(facts: Facts, wanted: str) -> str | None:
    """Say why an installation must not go on: MLflow would begin with no versions beside a store with releases.

    Version 1 of the new registry would be another model than the version 1 that devices run.

    Args:
        wanted: where the manifests keep MLflow's tables, `sqlite` or `postgresql`.
    """
    if STORE_VOLUME not in facts.volumes:
        return None
    has = facts.tables or ("sqlite" if "mlflow" in facts.volumes else None)
    if has == wanted and (wanted == "postgresql" or "mlflow" in facts.volumes):
        return None
    if has == "sqlite" and wanted == "postgresql" and "mlflow" in facts.volumes:
        return (
            "MLflow's tables are on the volume mlflow, and this overlay keeps them in PostgreSQL: it would begin with "
            "no versions beside a store with releases. Move them first: kizu cluster migrate"
        )
    if has == "postgresql":
        return (
            "MLflow's tables are in PostgreSQL, and this overlay would begin empty ones on a volume. "
            "Keep the overlay prod"
        )
    return (
        "the store's volume is there, but MLflow's tables are not: a registry with no versions would begin beside a "
        "store with releases. Restore them from a backup; or, if nothing was released, say --empty-registry"
    )


def too_small(facts: Facts, values: Values) -> dict[str, str]:
    """Return claim -> why its size stays as it is: it cannot shrink, or its class cannot grow it."""
    name = values.storage_class
    kind = next((item for item in facts.storage if (item.name == name if name else item.default)), None)
    kept = {}
    for claim, size in facts.volumes.items():
        wanted = values.sizes.get(claim)
        if wanted is None or byte_count(wanted) == byte_count(size):
            continue
        if byte_count(wanted) < byte_count(size):
            kept[claim] = f"it has {size}, and a volume cannot shrink to {wanted}"
        elif kind is None or not kind.expands:
            kept[claim] = f"it has {size}, and its storage class cannot grow it to {wanted}"
    return kept


def missing_secrets(documents: Sequence[Document], there: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (namespace, Secret) that pods of the documents need and the cluster lacks, without those of devices."""
    needed = {
        (document["metadata"]["namespace"], name) for document in documents for name in secrets_of_pod(pod_of(document))
    }
    return sorted(item for item in needed if item not in there and not item[1].startswith("kizu-device-"))


def secrets_of_pod(pod: Document, *, optional: bool = False) -> set[str]:
    """Return the names of the Secrets that a pod reads. optional: also those that may be missing. pod: {} has none."""
    found: set[str] = set()
    for container in (*pod.get("initContainers", ()), *pod.get("containers", ())):
        references = [v.get("valueFrom", {}).get("secretKeyRef") for v in container.get("env", ())]
        references += [source.get("secretRef") for source in container.get("envFrom", ())]
        found |= {r["name"] for r in references if r and (optional or not r.get("optional"))}
    return found | {v["secret"]["secretName"] for v in pod.get("volumes", ()) if "secret" in v}
