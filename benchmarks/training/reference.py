"""The published sample's way to fetch images: one client calls `download_file` for one object after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3

from components.settings import Settings
from components.stores.objects.s3 import parse_uri


def download(settings: Settings, uris: Sequence[str], folder: Path) -> float:
    """Download all objects, and return the seconds that it took, with the creation of the client."""
    began = time.perf_counter()
    client = _client(settings)
    for uri in uris:
        bucket, key = parse_uri(uri)
        client.download_file(bucket, key, str(folder / Path(key).name))
    return time.perf_counter() - began


def get(settings: Settings, uris: Sequence[str], folder: Path) -> float:
    """The same without boto3's transfer manager: one request per object, one object after the other."""
    began = time.perf_counter()
    client = _client(settings)
    for uri in uris:
        bucket, key = parse_uri(uri)
        (folder / Path(key).name).write_bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    return time.perf_counter() - began


def _client(settings: Settings) -> Any:
    assert settings.secret_access_key is not None
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key.get_secret_value(),
    )
