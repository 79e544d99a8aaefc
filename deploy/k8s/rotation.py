"""New keys and passwords in the place of those that were made, and which pods have to read them again."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from deploy.access.identities import MLFLOW_ACCOUNTS, RIGHTS, SIGNER_CALLERS, changing
from deploy.access.layout import Layout
from deploy.k8s.checks import secrets_of_pod
from deploy.k8s.credentials import CredentialsError
from deploy.k8s.kubectl import Document
from deploy.k8s.shaping import pod_of

NAMES: Final = ("admin", *RIGHTS, "operator", "mlflow-forms", "mqtt")
"""What can be rotated: identities with all that each has, the key that signs MLflow's forms, the broker's accounts."""
_RESTARTED: Final = ("Deployment", "StatefulSet", "DaemonSet")


def rotate(layout: Layout, names: Iterable[str], *, own_store: bool) -> None:
    """Forget keys, passwords and tokens. The next look at the identities makes new ones.

    Args:
        names: some of `NAMES`, or `all`.
        own_store: whether this installation makes the S3 keys; those of a store of yours stay.

    Raises:
        CredentialsError: a name is unknown, or has nothing that is made here.
    """
    chosen = set(NAMES) if "all" in names else set(names)
    unknown = chosen - set(NAMES)
    if unknown:
        raise CredentialsError(f"expected some of {', '.join(NAMES)}, or all, but got {', '.join(sorted(unknown))}")
    with changing(layout) as known:
        for name in chosen:
            had = []
            if own_store:
                had.append(known["s3"].pop(name, None))
            account = MLFLOW_ACCOUNTS.get(name) or (name if name == "admin" else None)
            if account is not None:
                had.append(known["mlflow"]["accounts"].pop(account, None))
            if name in SIGNER_CALLERS:
                had.append(known["signer"].pop(name, None))
            if name == "mqtt":
                had.append(known.pop("mqtt", None))
            if name == "mlflow-forms":
                had.append(known["mlflow"]["secret_key"])
                known["mlflow"]["secret_key"] = secrets.token_urlsafe(30)
            if "all" not in names and not any(had):
                raise CredentialsError(f"{name}: nothing of it is made here; bring new keys with --s3-keys")


def changed(before: Sequence[Document], after: Sequence[Document]) -> set[tuple[str, str]]:
    """Return (namespace, name) of each Secret that has other values than before."""
    known = {_name(item): item["stringData"] for item in before}
    return {_name(item) for item in after if known.get(_name(item)) != item["stringData"]}


def readers(documents: Iterable[Document], changed_secrets: set[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return (kind, namespace, name) of each server that reads one of these Secrets, the store first.

    Jobs and steps of pipelines read theirs when they start.
    """
    found = []
    for document in documents:
        if document["kind"] not in _RESTARTED:
            continue
        namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
        if {(namespace, secret) for secret in secrets_of_pod(pod_of(document), optional=True)} & changed_secrets:
            found.append((document["kind"].lower(), namespace, name))
    return sorted(found, key=lambda item: (item[2] != "seaweedfs", item))


def _name(secret: Document) -> tuple[str, str]:
    return secret["metadata"]["namespace"], secret["metadata"]["name"]
