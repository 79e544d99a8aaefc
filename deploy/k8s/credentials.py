"""Makes the Secrets of a cluster: `python -m deploy.k8s.credentials <folder> --signer-keys <folder>`.

The Secrets hold one random S3 key with its own rights for each identity, the accounts of MLflow, the approvers that the
use case files list, the first account of Label Studio, and the signer's keys. They are made once and stored in the
folder (mode 0700). A second call writes the same Secrets again. The store itself makes the identities of devices
(`kizu enroll`). Protect the folder like the root key, or remove it after the Secrets are applied. No secret is printed.
Never commit the folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from components.deployment.callers import callers_document
from components.deployment.keys import AGENT_KEY_FILE, ROOT_FILE, KeysError, load_chain, version_file
from components.use_case import UseCase, UseCaseError, load_use_case
from deploy.access.identities import (
    MLFLOW_ACCOUNTS,
    REGION,
    SIGNER_CALLERS,
    load,
    mlflow_account,
    mlflow_documents,
    remember_approvers,
    seaweedfs_config,
    write_private,
)
from deploy.access.layout import REPOSITORY, Layout, Ports
from pipelines.wiring import IDENTITIES, OPTIONAL_KEYS, SECRET_KEYS

FILE: Final = "secrets.yaml"
SERVICES: Final = "kizu"
SIGNER: Final = "kizu-signer"
# Server -> (namespace, Secret) that holds its S3 key.
_KEY_HOLDERS: Final = {
    "admin": (SERVICES, "kizu-bucket-setup"),
    "mlflow": (SERVICES, "kizu-mlflow"),
    "reconciler": (SERVICES, "kizu-reconciler"),
    "fleet-page": (SERVICES, "kizu-fleet-page"),
    "backup": (SERVICES, "kizu-backup"),
    "signer": (SIGNER, "kizu-signer"),
}


class CredentialsError(RuntimeError):
    """The Secrets cannot be made."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The URLs that pods use. s3_public: the URL of S3 for labelers' browsers, which Label Studio signs.

    s3_ca_file: where pods find the authority of the store's certificate; empty: it is a public one.
    """

    s3: str = "http://seaweedfs.kizu.svc:8333"
    s3_public: str = "http://seaweedfs.kizu.svc:8333"
    s3_region: str = REGION
    s3_addressing: str = "path"
    s3_ca_file: str = ""
    mlflow: str = "http://mlflow.kizu.svc:5000"
    label_studio: str = "http://labelstudio.kizu.svc:8080"
    signer: str = "http://signer.kizu-signer.svc:8085"


def pipeline_accounts() -> dict[str, str]:
    """Return identity -> the ServiceAccount that its runs have in the namespace of the pipelines."""
    return {identity: f"kizu-{identity}" for identity in IDENTITIES.values()}


def shipped_use_cases() -> list[UseCase]:
    """Return the use case files of this repository."""
    return [load_use_case(path) for path in sorted((REPOSITORY / "use_cases").glob("*.yaml"))]


def make(
    folder: Path,
    signer_keys: Path,
    addresses: Addresses,
    *,
    pipelines_namespace: str,
    use_cases: Sequence[UseCase] | None = None,
) -> list[dict[str, Any]]:
    """Return the Secrets as Kubernetes documents. New identities are stored in `folder`.

    use_cases: the use cases whose approvers go to MLflow's server; by default those of this repository.

    Raises:
        CredentialsError: the signer's keys are missing.
    """
    layout = Layout(folder.resolve(), Ports(), Path())
    for use_case in shipped_use_cases() if use_cases is None else use_cases:
        remember_approvers(layout, use_case)
    known = load(layout)
    found = [
        secret_document(SERVICES, "seaweedfs-identities", {"s3.json": json.dumps(seaweedfs_config(layout), indent=1)})
    ]
    for identity, (namespace, name) in _KEY_HOLDERS.items():
        values = _s3_key(known["s3"][identity])
        if identity in MLFLOW_ACCOUNTS:
            values |= mlflow_account(layout, MLFLOW_ACCOUNTS[identity])
        if identity == "mlflow":
            values["MLFLOW_FLASK_SERVER_SECRET_KEY"] = known["mlflow"]["secret_key"]
        if identity == "reconciler":
            values["LABEL_STUDIO_API_KEY"] = known["label_studio"]["token"]
        if identity in SIGNER_CALLERS:
            values["KIZU_SIGNER_TOKEN"] = known["signer"][identity]
        found.append(secret_document(namespace, name, values))
    documents = zip(("accounts.json", "approvers.json"), mlflow_documents(known), strict=True)
    found.append(
        secret_document(SERVICES, "kizu-mlflow-accounts", {name: json.dumps(document) for name, document in documents})
    )
    account = known["label_studio"]
    found.append(
        secret_document(
            SERVICES,
            "kizu-labelstudio",
            {
                "LABEL_STUDIO_USERNAME": account["email"],
                "LABEL_STUDIO_PASSWORD": account["password"],
                "LABEL_STUDIO_USER_TOKEN": account["token"],
            },
        )
    )
    callers = callers_document(known["signer"], SIGNER_CALLERS)
    found.append(secret_document(SIGNER, "kizu-signer-callers", {"callers.json": json.dumps(callers)}))
    found.append(secret_document(SIGNER, "kizu-signer-keys", _signer_keys(signer_keys)))
    for pipeline, names in SECRET_KEYS.items():
        values = pipeline_settings(known, pipeline, addresses) | mlflow_account(layout, MLFLOW_ACCOUNTS[pipeline])
        given = {name: values[name] for name in (*names, *OPTIONAL_KEYS) if name in (*names, *values)}
        found.append(secret_document(pipelines_namespace, f"kizu-{pipeline}", given))
    return found


def with_database(made: Sequence[dict[str, Any]], uri: str) -> None:
    """Add the address of MLflow's database to the Secret of MLflow, for the overlays that keep its tables there.

    Raises:
        CredentialsError: it is no address of a PostgreSQL. The message does not hold it, as it has a password.
    """
    if not uri.startswith("postgresql://") or len(uri.split()) != 1:
        raise CredentialsError("expected one line postgresql://<user>:<password>@<host>:5432/<database>")
    for secret in made:
        if (secret["metadata"]["namespace"], secret["metadata"]["name"]) == (SERVICES, "kizu-mlflow"):
            secret["stringData"]["MLFLOW_BACKEND_STORE_URI"] = uri


def with_label_studio_database(made: Sequence[dict[str, Any]], uri: str) -> None:
    """Add the address of Label Studio's database to its Secret, in the parts that Label Studio reads.

    Raises:
        CredentialsError: it is no address of a PostgreSQL. The message does not hold it, as it has a password.
    """
    url = urlsplit(uri)
    try:
        port = url.port or 5432
    except ValueError:
        port = 0
    parts = {
        "POSTGRE_HOST": url.hostname or "",
        "POSTGRE_PORT": str(port or ""),
        "POSTGRE_NAME": unquote(url.path.lstrip("/")),
        "POSTGRE_USER": unquote(url.username or ""),
        "POSTGRE_PASSWORD": unquote(url.password or ""),
    }
    if url.scheme != "postgresql" or len(uri.split()) != 1 or not all(parts.values()):
        raise CredentialsError("expected one line postgresql://<user>:<password>@<host>:5432/<database>")
    modes = parse_qs(url.query).get("sslmode")
    if modes:
        parts["PGSSLMODE"] = modes[-1]
    for secret in made:
        if (secret["metadata"]["namespace"], secret["metadata"]["name"]) == (SERVICES, "kizu-labelstudio"):
            secret["stringData"].update(parts)


def pipeline_settings(known: Mapping[str, Any], pipeline: str, addresses: Addresses) -> dict[str, str]:
    """Return every setting that may be a key in a pipeline's Secret."""
    browser = known["s3"]["labelstudio"]
    return {
        "KIZU_S3_ENDPOINT": addresses.s3,
        "KIZU_S3_PUBLIC_ENDPOINT": addresses.s3_public,
        "KIZU_S3_REGION": addresses.s3_region,
        "KIZU_S3_ADDRESSING": addresses.s3_addressing,
        **({"KIZU_S3_CA_FILE": addresses.s3_ca_file} if addresses.s3_ca_file else {}),
        **_s3_key(known["s3"][pipeline]),
        "MLFLOW_TRACKING_URI": addresses.mlflow,
        "KIZU_SIGNER_URL": addresses.signer,
        **({"KIZU_SIGNER_TOKEN": known["signer"][pipeline]} if pipeline in SIGNER_CALLERS else {}),
        "LABEL_STUDIO_URL": addresses.label_studio,
        "LABEL_STUDIO_API_KEY": known["label_studio"]["token"],
        "LABEL_STUDIO_S3_ACCESS_KEY_ID": browser["access_key"],
        "LABEL_STUDIO_S3_SECRET_ACCESS_KEY": browser["secret_key"],
    }


def _s3_key(key: Mapping[str, str]) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": key["access_key"], "AWS_SECRET_ACCESS_KEY": key["secret_key"]}


def _signer_keys(folder: Path) -> dict[str, str]:
    try:
        chain = load_chain(folder)
    except KeysError as e:
        raise CredentialsError(f"expected the signer's keys in {folder}, but: {e}") from e
    # Devices that pinned an early root need every one that follows.
    roots = {version_file(root.signed.version): root.to_bytes().decode() for root in chain.roots}
    keys = {f"{role}.pem": signer.private_bytes.decode() for role, signer in chain.signers.items()}
    if chain.agent is not None:
        keys[AGENT_KEY_FILE] = chain.agent.private_bytes.decode()
    return {**keys, **roots, ROOT_FILE: chain.newest.to_bytes().decode()}


def secret_document(namespace: str, name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Return a Secret as a Kubernetes document."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "kizu"},
        },
        "type": "Opaque",
        "stringData": dict(values),
    }


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and write one private file. Returns the exit code."""
    defaults = Addresses()
    parser = argparse.ArgumentParser(description="Make the Secrets of a cluster; a second call writes the same again.")
    parser.add_argument("folder", type=Path, help="kept private (0700); holds identities.json and secrets.yaml")
    parser.add_argument(
        "--signer-keys", type=Path, required=True, help="as made by: kizu keys init … --signer <folder>"
    )
    parser.add_argument("--pipelines-namespace", default="kubeflow", help="where Kubeflow Pipelines runs")
    parser.add_argument("--s3", default=defaults.s3, metavar="URL", help="S3 as the pods reach it")
    parser.add_argument("--s3-public", metavar="URL", help="S3 as labelers' browsers reach it; default: the same")
    parser.add_argument(
        "--use-case", type=Path, action="append", metavar="FILE",
        help="whose approvers MLflow's server shall know, besides those of earlier calls; default: the shipped ones",
    )  # fmt: skip
    options = parser.parse_args(argv)
    addresses = Addresses(s3=options.s3, s3_public=options.s3_public or options.s3)
    try:
        made = make(
            options.folder,
            options.signer_keys,
            addresses,
            pipelines_namespace=options.pipelines_namespace,
            use_cases=[load_use_case(path) for path in options.use_case] if options.use_case else None,
        )
    except (CredentialsError, UseCaseError, OSError) as e:
        print(f"credentials: {e}", file=sys.stderr)  # noqa: T201
        return 1
    file = options.folder / FILE
    write_private(file, yaml.safe_dump_all(made, sort_keys=False).encode())
    print(f"{len(made)} Secrets in {file}; apply them with: kubectl apply -f {file}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
