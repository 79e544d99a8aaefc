"""What an installation applied: a list in the cluster, so that what nothing asks for any more can be removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from deploy.k8s.facts import MARKER, SERVICES
from deploy.k8s.kubectl import Document

INVENTORY: Final = "kizu-applied"
"""The ConfigMap with one line for each object: kind, namespace and name."""
_NEVER: Final = ("Namespace", "Secret")
_Key = tuple[str, str, str]


def inventory(documents: Iterable[Document]) -> list[str]:
    """Return a line for each document."""
    lines = []
    for document in documents:
        meta = document["metadata"]
        lines.append(f"{_kind(document)}|{meta.get('namespace', '')}|{meta['name']}")
    return sorted(lines)


def inventory_document(lines: Iterable[str]) -> list[Document]:
    """Return the ConfigMap that keeps the lines."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": INVENTORY, "namespace": SERVICES, "labels": {"app.kubernetes.io/part-of": "kizu"}},
            "data": {"objects": "".join(f"{line}\n" for line in sorted(set(lines)))},
        }
    ]


def of_inventory(found: Sequence[Document]) -> list[str]:
    """Return the lines of an earlier call; none where there was none."""
    return [line for document in found for line in document["data"].get("objects", "").splitlines()]


def obsolete(before: Iterable[str], now: Iterable[str]) -> tuple[list[_Key], list[_Key]]:
    """Return (objects to delete, volumes that stay) among those that only the earlier list has.

    Namespaces and Secrets are never deleted so, nor the note where tables are.
    """
    gone: list[_Key] = []
    stays: list[_Key] = []
    for line in sorted(set(before) - set(now)):
        kind, namespace, name = line.split("|")
        if kind == "PersistentVolumeClaim":
            stays.append((kind, namespace, name))
        elif kind not in _NEVER and name != MARKER:
            gone.append((kind, namespace, name))
    return gone, stays


def _kind(document: Document) -> str:
    """The kind as `kubectl delete` takes it: with its group, where it is not one of Kubernetes' own."""
    group, separator, version = document["apiVersion"].partition("/")
    own = group in ("apps", "batch", "policy") or group.endswith(("networking.k8s.io", "authorization.k8s.io"))
    return document["kind"] if not separator or own else f"{document['kind']}.{version}.{group}"
