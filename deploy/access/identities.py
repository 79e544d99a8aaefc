"""Who may do what: an S3 identity and an account of MLflow for each pipeline and service, made once with random keys.

Devices are enrolled.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from components.deployment.callers import callers_document
from components.enrolment.seaweedfs import SeaweedFSIdentities
from components.stores.objects.s3 import S3ObjectStore
from components.stores.objects.whole_file import PRIVATE, write_whole
from components.use_case import UseCase
from deploy.access.layout import Layout, base_environment
from deploy.access.locks import locked

BUCKETS: Final = ("raw", "labels", "datasets", "weights", "mlflow", "releases", "fleet", "state")
PREFIX: Final = "kizu-"
REGION: Final = "us-east-1"

# identity -> bucket, or folder in a bucket -> SeaweedFS actions.
_READ: Final = ("Read", "List")
_ALL: Final = ("Read", "List", "Write")
RIGHTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "importer": {"raw": _ALL, "labels": _ALL},
    # datasets: a vacuum of the labels keeps the versions that datasets were made from
    "labeling": {"raw": _READ, "labels": _ALL, "datasets": _READ, "state": _ALL},
    "labelstudio": {"raw": _READ},
    "training": {"raw": _READ, "labels": _READ, "datasets": _ALL, "weights": _ALL, "state": _ALL},
    "deployment": {"datasets": _READ, "state": _ALL},
    # labels, datasets: it counts the labels that the last training did not have
    "reconciler": {"fleet": _READ, "releases": _READ, "labels": _READ, "datasets": _READ, "state": _ALL},
    # for tracing a release or an image to its labels and back: read only
    "auditor": {"raw": _READ, "labels": _READ, "datasets": _READ, "releases": _READ, "fleet": _READ},
    # the audit log only: it puts an entry where there is none, and the bucket's policy forbids to delete one
    "fleet-page": {"fleet": _READ, "state/audit": _ALL},
    "mlflow": {"mlflow": _ALL},
    "signer": {"releases": _ALL},
    # it copies everything elsewhere, and changes nothing here
    "backup": dict.fromkeys(BUCKETS, _READ),
}
# MLflow account -> its role, as components/approval_server/accounts.py defines them.
MLFLOW_ROLES: Final[Mapping[str, str]] = {
    "admin": "admin",
    "trainer": "trainer",
    "labeling": "reader",
    "deployment": "reader",
    "signer": "reader",
    "auditor": "reader",
    "reconciler": "reconciler",
    "approver": "approver",
    # of Kubeflow Pipelines' own MLflow plugin, where an administrator turns it on: experiments and runs of its own
    "kubeflow": "reader",
}
MLFLOW_ACCOUNTS: Final[Mapping[str, str]] = {
    "training": "trainer",
    "labeling": "labeling",
    "deployment": "deployment",
    "signer": "signer",
    "auditor": "auditor",
    "reconciler": "reconciler",
}
"""Identity -> its MLflow account."""
SIGNER_CALLERS: Final[Mapping[str, tuple[str, ...]]] = {
    "deployment": ("read", "publish"),
    "reconciler": ("read", "rollout"),
    "fleet-page": ("read", "rollout"),
    # a person with the commands `kizu keys recover`, `kizu deploy`, `kizu shadow` and `kizu agent`
    "operator": ("read", "publish", "rollout", "recover", "shadow", "agent"),
}
"""Caller of the signer -> its rights, as components/deployment/callers.py knows them."""
SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "labeling": ("KIZU_LABEL_STUDIO_PUBLIC_URL", "KIZU_WEBHOOK_LISTEN", "KIZU_WEBHOOK_URL", "KIZU_WEBHOOK_SECRET"),
    "training": (
        "KIZU_TRAINING_DEVICE", "KIZU_TRAINING_THREADS", "KIZU_TRAINING_WORKERS", "KIZU_CHECKPOINT_EVERY_S",
        "KIZU_CACHE_DIR", "KIZU_CACHE_MAX_BYTES",
        "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT",
    ),
    "reconciler": (
        "KIZU_NOTIFY_WEBHOOK", "KIZU_NOTIFY_SECRET", "KIZU_NOTIFY_TO", "KIZU_MLFLOW_PUBLIC_URL",
        "KIZU_SMTP_HOST", "KIZU_SMTP_PORT", "KIZU_SMTP_TLS", "KIZU_SMTP_USERNAME", "KIZU_SMTP_PASSWORD",
        "KIZU_SMTP_FROM", "KIZU_WEBHOOK_SECRET", "KIZU_MLFLOW_WEBHOOK_SECRET",
    ),
}  # fmt: skip
"""Identity -> the variables that a caller may set for its process. They name no server of Kizu, and no key to one."""
PEOPLE: Final = (("annotator", "annotator@kizu.local"), ("verifier", "verifier@kizu.local"))


@dataclass(frozen=True, slots=True)
class Account:
    """A Label Studio account; `repr` hides its secrets."""

    email: str
    password: str
    token: str

    def __repr__(self) -> str:
        return f"Account({self.email})"


def load(layout: Layout) -> dict[str, Any]:
    """Return all identities of this installation. The first call makes them, in a file of mode 0600."""
    found = _found(layout)
    if found == _completed(copy.deepcopy(found)):
        return found
    with changing(layout) as known:
        return known


@contextmanager
def changing(layout: Layout) -> Iterator[dict[str, Any]]:
    """Yield all identities for a change. Other processes wait. The change is written unless the block raises."""
    with locked(layout.home / "identities.lock"):
        found = _found(layout)
        known = _completed(copy.deepcopy(found))
        yield known
        if known != found:
            write_private(layout.identities_file, json.dumps(known, indent=1).encode())


def _found(layout: Layout) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(layout.identities_file.read_bytes())
    except FileNotFoundError:
        return {}
    return known


def _completed(known: dict[str, Any]) -> dict[str, Any]:
    """Add the identities that are missing: all at first, later those that an earlier version did not have."""
    known.setdefault("schema_version", 1)
    keys = known.setdefault("s3", {})
    for name in ("admin", *RIGHTS):
        keys.setdefault(name, _new_key())
    known.setdefault(
        "label_studio",
        {"email": "admin@kizu.local", "password": secrets.token_urlsafe(16), "token": secrets.token_hex(20)},
    )
    people = known.setdefault("people", {})
    for role, email in PEOPLE:
        people.setdefault(role, {"email": email, "password": secrets.token_urlsafe(12)})
    mlflow = known.setdefault("mlflow", _new_mlflow())
    for name, role in MLFLOW_ROLES.items():
        mlflow["accounts"].setdefault(name, _new_account(role))
    tokens = known.setdefault("signer", {})
    for name in SIGNER_CALLERS:
        tokens.setdefault(name, secrets.token_urlsafe(30))
    return known


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600, whole or not at all. If its folder is missing, it is made with mode 0700."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, data, PRIVATE)


def _new_mlflow() -> dict[str, Any]:
    """Make MLflow's entry. secret_key: the key that MLflow signs forms with; approvers: model -> accounts."""
    accounts = {name: _new_account(role) for name, role in MLFLOW_ROLES.items()}
    return {"secret_key": secrets.token_urlsafe(30), "accounts": accounts, "approvers": {}}


def _new_account(role: str) -> dict[str, str]:
    return {"role": role, "password": secrets.token_urlsafe(18)}


def allow_approvers(layout: Layout, use_case: UseCase) -> None:
    """Give a use case's list of approvers to the MLflow server on this machine.

    Only the administrator may do this. The user who runs `kizu` on this machine is the administrator. The process of a
    pipeline has a use case without approvers.
    """
    remember_approvers(layout, use_case)
    write_mlflow_files(layout)


def remember_approvers(layout: Layout, use_case: UseCase) -> None:
    """Store a use case's list of approvers, and make an account for each."""
    with changing(layout) as known:
        mlflow = known["mlflow"]
        mlflow["approvers"][use_case.name] = list(use_case.approvers)
        for name in use_case.approvers:
            mlflow["accounts"].setdefault(name, _new_account("approver"))


def write_mlflow_files(layout: Layout) -> tuple[Path, Path]:
    """Write the two files that MLflow's server reads (accounts, approvers), if their content changed."""
    files = (layout.mlflow_accounts, layout.mlflow_approvers)
    with changing(layout) as known:
        for file, document in zip(files, mlflow_documents(known), strict=True):
            data = json.dumps(document, indent=1).encode()
            if not file.exists() or file.read_bytes() != data:
                write_private(file, data)
    return files


def mlflow_documents(known: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return accounts.json and approvers.json of `components/approval_server`."""
    mlflow = known["mlflow"]
    return (
        {"schema_version": 1, "accounts": mlflow["accounts"]},
        {"schema_version": 1, "approvers": mlflow["approvers"]},
    )


def write_signer_callers(layout: Layout) -> Path:
    """Write the file that the signer reads, if it is missing or out of date."""
    with changing(layout) as known:
        data = json.dumps(callers_document(known["signer"], SIGNER_CALLERS), indent=1).encode()
        if not layout.signer_callers.exists() or layout.signer_callers.read_bytes() != data:
            write_private(layout.signer_callers, data)
    return layout.signer_callers


def signer_token(layout: Layout, caller: str) -> str:
    """Return the token of a caller of the signer.

    Raises:
        ValueError: no such caller.
    """
    tokens: dict[str, str] = load(layout)["signer"]
    if caller not in tokens:
        raise ValueError(f"expected a caller of the signer, one of {sorted(tokens)}, but got {caller!r}")
    return tokens[caller]


def mlflow_account(layout: Layout, account: str) -> dict[str, str]:
    """Return the variables that make MLflow's client use this account.

    Raises:
        ValueError: the account does not exist.
    """
    accounts = load(layout)["mlflow"]["accounts"]
    if account not in accounts:
        raise ValueError(f"expected an account of MLflow, one of {sorted(accounts)}, but got {account!r}")
    return {"MLFLOW_TRACKING_USERNAME": account, "MLFLOW_TRACKING_PASSWORD": accounts[account]["password"]}


def _new_key() -> dict[str, str]:
    return {"access_key": secrets.token_hex(10), "secret_key": secrets.token_urlsafe(30)}


def seaweedfs_config(layout: Layout) -> dict[str, Any]:
    """Return SeaweedFS's fixed identities, each with the narrowest actions. Devices are added through the IAM API."""
    keys = load(layout)["s3"]
    actions = {
        # Write of objects only: for a whole bucket it would include versioning and lifecycle rules, which delete.
        name: [
            f"{action}:{PREFIX}{bucket}{'/*' if action == 'Write' or '/' in bucket else ''}"
            for bucket, allowed in rights.items()
            for action in allowed
        ]
        for name, rights in RIGHTS.items()
    }
    actions["admin"] = ["Admin"]
    return {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": keys[name]["access_key"], "secretKey": keys[name]["secret_key"]}],
                "actions": allowed,
            }
            for name, allowed in actions.items()
        ]
    }


def device_identities(layout: Layout) -> SeaweedFSIdentities:
    """Return the identity provider that enrols and revokes devices on this machine. The store must run."""
    key = load(layout)["s3"]["admin"]
    return SeaweedFSIdentities(layout.s3_endpoint, REGION, key["access_key"], key["secret_key"])


def store_for(layout: Layout, identity: str) -> S3ObjectStore:
    """Return the store with the rights of one identity."""
    key = load(layout)["s3"][identity]
    return S3ObjectStore(layout.s3_endpoint, REGION, key["access_key"], key["secret_key"])


def environment_for(layout: Layout, identity: str) -> dict[str, str]:
    """Return the whole environment of a process with this identity. It holds only the settings of the identity.

    Raises:
        ValueError: the identity does not exist.
    """
    known = load(layout)
    if identity not in known["s3"]:
        raise ValueError(f"expected one of {sorted(known['s3'])}, but got {identity!r}")
    environment = base_environment(*SETTINGS.get(identity, ())) | {
        "KIZU_HOME": str(layout.home),
        "KIZU_S3_ENDPOINT": layout.s3_endpoint,
        "KIZU_S3_PUBLIC_ENDPOINT": layout.s3_endpoint,
        "KIZU_S3_REGION": REGION,
        "KIZU_S3_ADDRESSING": "path",
        "AWS_ACCESS_KEY_ID": known["s3"][identity]["access_key"],
        "AWS_SECRET_ACCESS_KEY": known["s3"][identity]["secret_key"],
        # Without a region and keys, boto3 would ask an instance's metadata service. Here it has both.
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if identity in MLFLOW_ACCOUNTS:
        environment["MLFLOW_TRACKING_URI"] = layout.mlflow_url
        environment |= mlflow_account(layout, MLFLOW_ACCOUNTS[identity])
    # The steps of training read the same images repeatedly. The label report compares the pairs that a freeze compares.
    if identity in ("training", "labeling"):
        environment.setdefault("KIZU_CACHE_DIR", str(layout.cache))
    if identity == "fleet-page":  # it asks MLflow as the person who signs in, and has no account of its own
        environment |= {
            "MLFLOW_TRACKING_URI": layout.mlflow_url,
            "KIZU_PORT_FLEET_PAGE": str(layout.ports.fleet_page),
            "KIZU_FLEET_PAGE_DATA": str(layout.home / "fleet-page"),
        }
    if identity in SIGNER_CALLERS:
        environment["KIZU_SIGNER_URL"] = layout.signer_url
        environment["KIZU_SIGNER_TOKEN"] = known["signer"][identity]
    if identity == "reconciler":
        environment["KIZU_USE_CASES"] = str(layout.use_cases)
    if identity in ("labeling", "reconciler"):
        environment["LABEL_STUDIO_URL"] = layout.label_studio_url
        environment["LABEL_STUDIO_API_KEY"] = known["label_studio"]["token"]
    if identity == "labeling":
        environment |= {
            "LABEL_STUDIO_S3_ACCESS_KEY_ID": known["s3"]["labelstudio"]["access_key"],
            "LABEL_STUDIO_S3_SECRET_ACCESS_KEY": known["s3"]["labelstudio"]["secret_key"],
        }
    if identity == "signer":
        environment |= {
            "KIZU_SIGNER_KEYS": str(layout.keys),
            "KIZU_SIGNER_CALLERS": str(layout.signer_callers),
            "KIZU_PORT_SIGNER": str(layout.ports.signer),
        }
    return environment
