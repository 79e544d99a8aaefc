"""Makes the buckets and their rules with the administrator's identity. Making them again changes nothing."""

from __future__ import annotations

import json
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from deploy.access.identities import BUCKETS, PREFIX, REGION, load
from deploy.access.layout import Layout

_ATTEMPTS: Final = 30


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
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10, "mode": "standard"}),
    )
    ensure(
        client,
        PREFIX,
        allowed_origins=[layout.label_studio_url, layout.label_studio_url.replace("127.0.0.1", "localhost")],
    )


def ensure(client: Any, prefix: str, *, allowed_origins: list[str]) -> None:
    """Make all buckets. The raw bucket keeps versions, forbids delete, and lets labelers' browsers use signed URLs."""
    try:
        present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for name in BUCKETS:
            if f"{prefix}{name}" not in present:
                client.create_bucket(Bucket=f"{prefix}{name}")
        raw = f"{prefix}raw"
        client.put_bucket_versioning(Bucket=raw, VersioningConfiguration={"Status": "Enabled"})
        # On SeaweedFS the action `Write` includes delete. This policy forbids it for everybody, also administrators.
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "NobodyDeletesImages",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
                    "Resource": [f"arn:aws:s3:::{raw}/*"],
                }
            ],
        }
        client.put_bucket_policy(Bucket=raw, Policy=json.dumps(policy))
        rule = {"AllowedOrigins": allowed_origins, "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
        client.put_bucket_cors(Bucket=raw, CORSConfiguration={"CORSRules": [rule]})
    except (ClientError, BotoCoreError) as e:
        raise BucketError(f"the buckets could not be made at {client.meta.endpoint_url}: {e}") from e
