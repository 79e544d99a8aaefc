"""Both ends of the releases bucket: a device reads, with its own identity, what the signer publishes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from components.deployment import keys
from components.deployment.rotation import ROLES, replace_keys
from components.stores.releases.repository import ReleaseRepository as Publisher
from edge_agent.config import Credentials
from edge_agent.errors import UpdateError
from edge_agent.object_store import S3ObjectStore
from edge_agent.ota.release_client import ReleaseClient
from inspection import DesiredState, Wave
from inspection.paths import desired_path
from tests.edge_agent.models import build_release

BUCKET = "kizu-releases"


@pytest.fixture
def root(tmp_path):
    return keys.init(tmp_path / "root", tmp_path / "signer").read_bytes()


@pytest.fixture
def publish(tmp_path, root, seaweed):
    """A function that makes a signer over an empty bucket. now: the clock of the signer."""
    admin = seaweed.store("admin")
    for item in list(admin.list(BUCKET)):
        admin.delete(BUCKET, item.key)

    def publisher(now=lambda: datetime.now(UTC)) -> Publisher:
        folder = tmp_path / "signer"
        return Publisher(seaweed.store("signer"), BUCKET, keys.load_root(folder), keys.load_signers(folder), now=now)

    return publisher


def look(seaweed, root, tmp_path) -> ReleaseClient:
    known = seaweed.keys("dev1")
    store = S3ObjectStore(
        seaweed.endpoint, "us-east-1", Credentials(known["access_key"], SecretStr(known["secret_key"]))
    )
    return ReleaseClient(store, BUCKET, root, tmp_path / "tuf")


def test_a_device_reads_what_the_signer_published(publish, seaweed, root, tmp_path):
    """The repository is empty at first, then holds a release and a desired state, and is renewed."""
    publisher = publish()
    publisher.initialise()
    repository = look(seaweed, root, tmp_path)
    repository.refresh()
    assert repository.desired_state("tags", "line1") is None
    built = build_release()
    desired = DesiredState(
        sequence=1, use_case="tags", waves=(Wave(release_digest=built.digest, percent=100.0),), probation_s=15.0
    )
    files = [(f"releases/{built.digest}/{name}", data) for name, data in built.files.items()]
    publisher.publish([*files, ("desired/tags/line1.json", desired.to_json())])
    publish(now=lambda: datetime.now(UTC) + timedelta(days=5)).renew()
    repository = look(seaweed, root, tmp_path)
    repository.refresh()
    assert repository.desired_state("tags", "line1") == desired
    assert repository.fetch_release(built.digest, tmp_path / "release") == built.release
    assert (tmp_path / "release" / "model.onnx").read_bytes() == built.files["model.onnx"]


def test_a_signer_that_was_asleep_too_long_is_noticed(publish, seaweed, root, tmp_path):
    """The timestamp has expired, as that of a frozen repository would."""
    publish(now=lambda: datetime.now(UTC) - timedelta(days=8)).initialise()
    with pytest.raises(UpdateError, match="expired") as caught:
        look(seaweed, root, tmp_path).refresh()
    assert caught.value.reason == "expired-metadata"


def test_a_device_that_pinned_the_first_root_takes_what_is_published_after_rotations(publish, seaweed, root, tmp_path):
    """All four keys were replaced twice while it was away, the root key among them; it pinned root 1 and meets root 5.

    Another device, which read before, goes on as well.
    """
    publish().initialise()
    look(seaweed, root, tmp_path / "known").refresh()
    desired = DesiredState(
        sequence=1, use_case="tags", waves=(Wave(release_digest="ab" * 32, percent=100.0),), probation_s=15.0
    )
    for _ in range(2):
        replace_keys(ROLES, tmp_path / "root", tmp_path / "signer", revoke=False, now=datetime.now(UTC))
    chain = keys.load_chain(tmp_path / "signer")
    assert chain.newest.signed.version == 5
    signer = Publisher(seaweed.store("signer"), BUCKET, chain.newest, chain.signers, former=chain.roots[:-1])
    signer.initialise()
    signer.publish([(desired_path("tags", "line1"), desired.to_json())])
    for device in ("known", "new"):
        repository = look(seaweed, root, tmp_path / device)
        repository.refresh()
        assert repository.desired_state("tags", "line1") == desired
