"""What components need besides the Secrets of every cluster: passwords, and keys and rights in a store of yours."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from deploy.access.identities import BUCKETS, PREFIX, RIGHTS, changing
from deploy.access.layout import Layout
from deploy.k8s.credentials import (
    SERVICES,
    CredentialsError,
    secret_document,
    with_database,
    with_label_studio_database,
)
from deploy.k8s.values import Values

_ROUNDS: Final = 2000
"""Of the hash of a broker's password. The passwords are random; one guess costs too much already."""
_NOBODY_DELETES: Final = ("raw", "state/audit")


def of_components(layout: Layout, values: Values, made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the Secrets that chosen components need besides, and add what they need to those that are made.

    Passwords are made once and stored in the layout's file, as those of `make`.
    """
    found = []
    if "postgres" in values.components:
        with changing(layout) as known:
            names = ("postgres", "mlflow", "labelstudio")
            passwords = known.setdefault("postgres", {name: secrets.token_urlsafe(24) for name in names})
        where = "postgres.kizu.svc:5432"
        with_database(made, f"postgresql://mlflow:{passwords['mlflow']}@{where}/mlflow")
        with_label_studio_database(made, f"postgresql://labelstudio:{passwords['labelstudio']}@{where}/labelstudio")
        keys = {"POSTGRES_PASSWORD": "postgres", "MLFLOW_PASSWORD": "mlflow", "LABEL_STUDIO_PASSWORD": "labelstudio"}
        found.append(secret_document(SERVICES, "kizu-postgres", {key: passwords[name] for key, name in keys.items()}))
    if "mosquitto" in values.components:
        accounts = ("line", *values.mosquitto.accounts, *(device.name for device in values.edge.devices))
        with changing(layout) as known:
            broker = known.setdefault("mqtt", {})
            for account in accounts:
                broker.setdefault(account, secrets.token_urlsafe(18))
        lines = "".join(password_line(account, broker[account]) for account in dict.fromkeys(accounts))
        found.append(secret_document(SERVICES, "kizu-mosquitto", {"passwords": lines}))
    return found


def password_line(account: str, password: str) -> str:
    """Return the line of Mosquitto's password file: PBKDF2 with SHA-512. The same password gives the same line.

    The salt comes from the password, which is random and of this account alone, so that a second call changes nothing.
    """
    salt = hashlib.sha256(f"{account} {password}".encode()).digest()[:12]
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"{account}:$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def take_keys(layout: Layout, given: object) -> None:
    """Store the S3 keys that the administrator of another store made, in the place of those that were made here.

    given: identity -> {access_key, secret_key}, as `storage-external` needs it.

    Raises:
        CredentialsError: an identity is unknown or missing, or an entry has another form.
    """
    wanted = ("admin", *RIGHTS)
    if not isinstance(given, Mapping) or set(given) != set(wanted):
        got = ", ".join(sorted(map(str, given))) if isinstance(given, Mapping) else type(given).__name__
        raise CredentialsError(f"expected the keys of {', '.join(wanted)}, but got {got}")
    for name, key in given.items():
        form = isinstance(key, Mapping) and set(key) == {"access_key", "secret_key"}
        if not form or not all(isinstance(text, str) and text for text in key.values()):
            raise CredentialsError(f"{name}: expected access_key and secret_key, and nothing else")
    with changing(layout) as known:
        known["s3"].update({name: dict(key) for name, key in given.items()})


def policies(prefix: str = PREFIX) -> dict[str, dict[str, Any]]:
    """Return identity -> its rights as an AWS IAM policy document, for a store whose identities you make."""
    found = {name: _policy(prefix, rights) for name, rights in RIGHTS.items()}
    buckets = [f"arn:aws:s3:::{prefix}{bucket}" for bucket in BUCKETS]
    makes = ["s3:CreateBucket", "s3:PutBucketVersioning", "s3:PutBucketPolicy", "s3:PutBucketCORS"]
    everywhere = {"Effect": "Allow", "Action": ["s3:ListAllMyBuckets"], "Resource": ["*"]}
    found["admin"] = _document([everywhere, {"Effect": "Allow", "Action": makes, "Resource": buckets}])
    return found


def _policy(prefix: str, rights: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    statements: list[dict[str, Any]] = []
    for place, actions in rights.items():
        bucket, _, folder = place.partition("/")
        arn = f"arn:aws:s3:::{prefix}{bucket}"
        if "List" in actions:
            listing: dict[str, Any] = {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning"],
                "Resource": [arn],
            }
            if folder:
                listing["Condition"] = {"StringLike": {"s3:prefix": [f"{folder}/*"]}}
            statements.append(listing)
        objects = [*(["s3:GetObject", "s3:GetObjectVersion"] if "Read" in actions else ())]
        if "Write" in actions:
            objects += ["s3:PutObject", "s3:AbortMultipartUpload"]
            objects += [] if place in _NOBODY_DELETES else ["s3:DeleteObject"]
        statements.append(
            {"Effect": "Allow", "Action": objects, "Resource": [f"{arn}/{folder + '/' if folder else ''}*"]}
        )
    return _document(statements)


def _document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
