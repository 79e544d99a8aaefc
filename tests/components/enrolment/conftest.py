"""A SeaweedFS of its own, as on one machine and as on a cluster, and its administrator."""

from __future__ import annotations

import pytest

from components.deployment import keys
from components.enrolment.bundle import Surroundings
from components.enrolment.port import DeviceIdentity, Key
from components.enrolment.seaweedfs import SeaweedFSIdentities
from components.stores.objects.s3 import S3ObjectStore
from deploy.access.buckets import ensure
from tests.edge_agent.servers import Seaweed, remove

# With signing keys SeaweedFS also starts its token service, and judges policies there.
TOKENS = {f"WEED_JWT_{name}_KEY": name * 8 for name in ("SIGNING", "FILER_SIGNING", "FILER_SIGNING_READ")}


@pytest.fixture(scope="session", params=["one machine", "cluster"])
def server(request, tmp_path_factory):
    """An S3 server that may be killed and started again, with all buckets and something of everybody's in them."""
    server = Seaweed(tmp_path_factory.mktemp("seaweed"), environment=TOKENS if request.param == "one machine" else {})
    server.start()
    try:
        admin = server.store("admin")
        ensure(admin._client, "kizu-", allowed_origins=["http://127.0.0.1"])
        for bucket, key in (
            ("kizu-raw", "plant1/dev10/2026/01/01/theirs.jpg"),
            ("kizu-raw", "plant1/dev2/2026/01/01/theirs.jpg"),
            ("kizu-fleet", "dev10/reported.json"),
            ("kizu-fleet", "dev2/reported.json"),
            ("kizu-releases", "metadata/timestamp.json"),
            ("kizu-labels", "events/_delta_log/0.json"),
            ("kizu-datasets", "manifests/a.json"),
            ("kizu-weights", "yolov8n.pt"),
            ("kizu-mlflow", "1/model.onnx"),
            ("kizu-state", "leases/labeling"),
        ):
            admin.put(bucket, key, b"theirs")
        yield server
    finally:
        server.stop()
        remove(server.folder / "data")


@pytest.fixture
def identities(server) -> SeaweedFSIdentities:
    """The provider, with the administrator's key."""
    key = server.keys("admin")
    return SeaweedFSIdentities(server.endpoint, "us-east-1", key["access_key"], key["secret_key"])


@pytest.fixture
def as_device(server):
    """S3 with a device's own key."""

    def store(key: Key) -> S3ObjectStore:
        return S3ObjectStore(server.endpoint, "us-east-1", key.access_key, key.secret_key)

    return store


@pytest.fixture
def enrolled(identities):
    """Enrol devices at plant1; they are out again after the test."""
    names = []

    def enrol(name: str) -> Key:
        names.append(name)
        return identities.create(DeviceIdentity(name, "plant1"))

    yield enrol
    for name in names:
        identities.revoke(name)


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> bytes:
    """Signed root metadata."""
    folder = tmp_path_factory.mktemp("keys")
    return keys.init(folder / "root", folder / "signer").read_bytes()


@pytest.fixture
def surroundings(root):
    """What a device is told; with the endpoint of a store that need not be there."""

    def made(endpoint: str = "http://127.0.0.1:8333", **changed) -> Surroundings:
        return Surroundings(
            **({"group": "line", "use_case": "metal-tag", "endpoint": endpoint, "root": root} | changed)
        )

    return made
