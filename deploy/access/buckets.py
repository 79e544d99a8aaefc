"""Makes the buckets and their rules with the administrator's identity. Making them again changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from components.stores.objects.s3 import client_config
from deploy.access.identities import BUCKETS, PREFIX, REGION, load
from deploy.access.layout import Layout

_NOT_KNOWN: Final = frozenset({"NotImplemented", "XNotImplemented", "MethodNotAllowed", "501", "405"})
"""What stores answer to a request that they do not know."""


_log = logging.getLogger(__name__)


class BucketError(RuntimeError):
    """A bucket or its rules could not be made."""


def ensure_on_this_machine(layout: Layout) -> None:
    """Make the buckets of the local stack."""
    key = load(layout)["s3"]["admin"]
    client = boto3.client(
        "s3",
        endpoint_url=layout.s3_endpoint,
        region_name=REGION,
        aws_access_key_id=key["access_key"],
        aws_secret_access_key=key["secret_key"],
        config=client_config("path", attempts=10),
    )
    origins = [layout.label_studio_url, layout.label_studio_url.replace("127.0.0.1", "localhost")]
    for loss in ensure(client, PREFIX, allowed_origins=origins):
        _log.warning("%s", loss)


def ensure(client: Any, prefix: str, *, allowed_origins: list[str]) -> list[str]:
    """Make all buckets. The raw bucket keeps versions, forbids delete, and lets labelers' browsers use signed URLs.

    Nobody deletes from the audit log in the state bucket either.

    Returns what is lost, in words, where the store does not know versions, policies or CORS rules.

    Raises:
        BucketError: a bucket could not be made, or the store refused a rule that it knows.
    """
    raw = f"{prefix}raw"
    state = f"{prefix}state"
    cors = {"AllowedOrigins": allowed_origins, "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
    rules: tuple[tuple[Callable[[], object], str], ...] = (
        (
            lambda: client.put_bucket_versioning(Bucket=raw, VersioningConfiguration={"Status": "Enabled"}),
            f"versions: an image of {raw} that is overwritten is lost; let only devices and importers write there",
        ),
        (
            lambda: client.put_bucket_policy(Bucket=raw, Policy=_nobody_deletes("NobodyDeletesImages", f"{raw}/*")),
            f"bucket policies: who may write to {raw} may be able to delete images; check the rights of each identity",
        ),
        (
            lambda: client.put_bucket_policy(
                Bucket=state, Policy=_nobody_deletes("NobodyDeletesTheAuditLog", f"{state}/audit/*")
            ),
            f"bucket policies: who may write to {state}/audit/ may be able to delete entries of the audit log",
        ),
        (
            lambda: client.put_bucket_cors(Bucket=raw, CORSConfiguration={"CORSRules": [cors]}),
            "CORS rules: labelers' browsers show no picture unless the store's own configuration allows "
            + ", ".join(allowed_origins),
        ),
    )
    lost = []
    try:
        present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for name in BUCKETS:
            if f"{prefix}{name}" not in present:
                _make(client, f"{prefix}{name}")
        for set_rule, loss in rules:
            try:
                set_rule()
            except ClientError as e:
                if _code(e) not in _NOT_KNOWN:
                    raise
                lost.append(f"the store does not know {loss}")
    except (ClientError, BotoCoreError) as e:
        raise BucketError(f"the buckets could not be made at {client.meta.endpoint_url}: {e}") from e
    return lost


def _nobody_deletes(name: str, objects: str) -> str:
    """A policy that forbids everybody, also administrators, to delete objects: SeaweedFS's `Write` includes delete."""
    statement = {
        "Sid": name,
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
        "Resource": [f"arn:aws:s3:::{objects}"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _make(client: Any, name: str) -> None:
    region = client.meta.region_name
    # S3 takes no name for its first region, and wants the name of each other one.
    place = {} if region in (None, "us-east-1") else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        client.create_bucket(Bucket=name, **place)
    except ClientError as e:
        if _code(e) != "BucketAlreadyOwnedByYou":  # somebody else set up the same installation a moment ago
            raise


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
