"""The device's S3 client for tests, connected to the tests' SeaweedFS."""

from __future__ import annotations

from pydantic import SecretStr

import edge_agent.object_store as edge_store
from edge_agent.config import Credentials
from tests.edge_agent.servers import Seaweed


def edge_adapter(seaweed: Seaweed, name: str, endpoint: str | None = None) -> edge_store.S3ObjectStore:
    """Return the device's client with the keys of the identity `name`. endpoint: instead of the server's own."""
    keys = seaweed.keys(name)
    credentials = Credentials(keys["access_key"], SecretStr(keys["secret_key"]))
    return edge_store.S3ObjectStore(endpoint or seaweed.endpoint, "us-east-1", credentials, connect_timeout_s=1.0)
