"""Servers of the components' tests: an installation of its own on the one S3, and an MLflow with accounts."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

import pytest

from components.settings import Settings
from components.stores.models.registry import ModelRegistry
from components.stores.objects.s3 import S3ObjectStore
from deploy.access.buckets import ensure
from tests.components.guarded_mlflow import GuardedMlflow, running
from tests.ports import reserve

_PORTS = range(9_500, 11_000)


@pytest.fixture(scope="session")
def installation(s3) -> Settings:
    """Settings of an installation that other rooms' tests do not write to.

    One for all: SeaweedFS gives each bucket seven volumes at its first write, and a disk has only so many.
    """
    environment = s3.environment("admin")
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    settings = Settings(
        s3_endpoint=environment["KIZU_S3_ENDPOINT"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        bucket_prefix=prefix,
    )
    ensure(s3.store("admin")._client, prefix, allowed_origins=["http://127.0.0.1"])
    return settings


@pytest.fixture(scope="session")
def store(installation) -> S3ObjectStore:
    """S3 as that installation's admin."""
    return S3ObjectStore.from_settings(installation)


def free_port() -> int:
    """A port that nobody listens on now, and which no other test process gets."""
    return next(port for port in random.sample(_PORTS, len(_PORTS)) if reserve([port]))


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory) -> Iterator[GuardedMlflow]:
    """A real MLflow server on a free port, with accounts and the rules of an approval. Tests are the trainer in it."""
    with running(tmp_path_factory.mktemp("mlflow"), free_port()) as server, server.acting_as("trainer"):
        yield server


@pytest.fixture(scope="session")
def mlflow_uri(mlflow) -> str:
    """Where it is."""
    return mlflow.uri


@pytest.fixture
def registry(mlflow_uri) -> ModelRegistry:
    """A client of that server."""
    return ModelRegistry(mlflow_uri)
