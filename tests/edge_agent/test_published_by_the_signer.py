"""Both ends of the releases bucket: a device reads, with its own identity, what the signer publishes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from components.deployment import keys
from components.deployment.agent_orders import (
    AgentRequest,
    agent_releases,
    missing_wheels,
    order_agent,
    publish_agent,
    step_agent,
    upload_wheel,
)
from components.deployment.release import ReleaseError
from components.deployment.rollout_steps import Asked, Step, StepRefused
from components.deployment.rotation import ROLES, replace_keys
from components.deployment.signer import Signer
from components.deployment.software_steps import SoftwareWaves
from components.stores.releases.repository import ReleaseRepository as Publisher
from components.stores.releases.repository import RepositoryError
from edge_agent.config import Credentials
from edge_agent.errors import UpdateError
from edge_agent.object_store import S3ObjectStore
from edge_agent.ota.release_client import ReleaseClient
from inspection import AgentOrder, DesiredState, Wave
from inspection.paths import desired_path
from inspection.rollout import Stage
from tests.edge_agent.agent_wheels import BuiltAgent, build_agent
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
        return Publisher(
            seaweed.store("signer"), BUCKET, keys.load_root(folder), keys.load_signers(folder),
            agent=keys.load_agent_key(folder), now=now,
        )  # fmt: skip

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


def publish_software(publisher: Publisher, built: BuiltAgent) -> None:
    for wheel in built.wheels.values():
        if wheel.described() in missing_wheels(publisher, built.release):
            upload_wheel(publisher, wheel.described(), wheel.data)
    publish_agent(publisher, built.release)


def test_a_device_reads_the_agents_software_that_the_signer_published(publish, seaweed, root, tmp_path):
    """The document and its wheels are signed by the role agent, whose key is replaced while the device is away."""
    publisher = publish()
    publisher.initialise()
    one, two = build_agent("one"), build_agent("two", "0.2.0")
    with pytest.raises(ReleaseError, match="expected all wheels to be uploaded before, but 2 are not there"):
        publish_agent(publisher, one.release)
    wheel = next(iter(one.wheels.values()))
    with pytest.raises(RepositoryError, match="expected the bytes of agent/"):
        upload_wheel(publisher, wheel.described(), wheel.data[:-1] + b"x")
    publish_software(publisher, one)
    look_at(look(seaweed, root, tmp_path / "dev1"), one, tmp_path)
    keys.make_agent_key(tmp_path / "signer", replace=True)
    publisher = publish()
    publisher.initialise()
    assert [item.file for item in missing_wheels(publisher, two.release)] == ["kizu_edge-0.2.0-py3-none-any.whl"]
    publish_software(publisher, two)
    publish(now=lambda: datetime.now(UTC) + timedelta(days=20)).renew()
    for built in (two, one):
        look_at(look(seaweed, root, tmp_path / "dev1"), built, tmp_path)


def look_at(client: ReleaseClient, built: BuiltAgent, tmp_path) -> None:
    client.refresh()
    assert client.fetch_agent(built.digest, tmp_path / "agent.json") == built.release
    for name, wheel in built.wheels.items():
        client.fetch_wheel(wheel.described(), tmp_path / name)
        assert (tmp_path / name).read_bytes() == wheel.data


def test_the_agents_software_is_ordered_for_some_devices_then_for_all(publish):
    """A canary and a share come first; the others keep what was ordered for all before, and a canary stays in."""
    publisher = publish()
    publisher.initialise()
    one, two = build_agent("one", "0.1.0"), build_agent("two", "0.2.0")
    for built in (one, two):
        publish_software(publisher, built)

    def order(built, **more) -> DesiredState:
        return order_agent(publisher, AgentRequest("tags", "line1", built.digest, **more))

    with pytest.raises(ReleaseError, match="nothing was deployed to the group line1"):
        order(one)
    release = build_release()
    before = DesiredState(
        sequence=4, use_case="tags", waves=(Wave(release_digest=release.digest, percent=100.0),), probation_s=15.0
    )
    files = [(f"releases/{release.digest}/{name}", data) for name, data in release.files.items()]
    publisher.publish([*files, (desired_path("tags", "line1"), before.to_json())])
    everywhere = order(one)
    assert everywhere.agent == AgentOrder(waves=(Wave(release_digest=one.digest, percent=100.0),), since=5)
    assert (everywhere.waves, everywhere.asked_since) == (before.waves, before.asked_since)
    canary = order(two, devices=("dev1",))
    share = order(two, percent=10.0)
    whole = order(two)
    assert [state.agent.release_for("dev1") for state in (canary, share, whole)] == [two.digest] * 3
    assert [state.agent.release_for("dev2") for state in (canary, share, whole)] == [one.digest, one.digest, two.digest]
    assert [state.agent.since for state in (canary, share, whole)] == [6, 6, 6], "a wider stage is no new try"
    assert order(two) == whole
    assert order(two, again=True).agent.since == 9
    with pytest.raises(ReleaseError, match=r"agent 0\.1\.0 is older than 0\.2\.0, which is ordered now"):
        order(one)
    assert order(one, downgrade=True).agent.release_for("dev2") == one.digest
    with pytest.raises(ReleaseError, match="is not published; run: kizu agent publish"):
        order(build_agent("three"))


def test_software_goes_out_by_stages_and_is_pruned_and_published_again(publish):
    """The plan is in the signed desired state; wheels that were pruned are asked for before software is ordered."""
    publisher = publish()
    publisher.initialise()
    one, two = build_agent("one", "0.1.0"), build_agent("two", "0.2.0")
    publish_software(publisher, one)
    publish_software(publisher, two)
    release = build_release()
    before = DesiredState(
        sequence=4, use_case="tags", waves=(Wave(release_digest=release.digest, percent=100.0),), probation_s=15.0
    )
    files = [(f"releases/{release.digest}/{name}", data) for name, data in release.files.items()]
    publisher.publish([*files, (desired_path("tags", "line1"), before.to_json())])
    waves = SoftwareWaves(stages=(Stage(devices=("dev1",)), Stage(percent=100.0)))
    first = order_agent(publisher, AgentRequest("tags", "line1", two.digest, waves=waves, by="qa"))
    assert [first.agent.release_for(name) for name in ("dev1", "dev2")] == [two.digest, None]
    asked = Asked(Step.ADVANCE, first.sequence, "reconciler", "the canary is complete")
    opened = step_agent(publisher, "tags", "line1", asked, datetime.now(UTC))
    assert opened.agent.release_for("dev2") == two.digest
    with pytest.raises(StepRefused, match="expected to advance at sequence 5, but it is at 6"):
        step_agent(publisher, "tags", "line1", asked, datetime.now(UTC))
    signer = Signer(publisher, None)
    (found,) = signer.prune_agents([], 1, act=True)
    assert (found.digest, found.version) == (one.digest, "0.1.0")
    assert [item.digest for item in agent_releases(publisher)] == [one.digest, two.digest], "the documents stay"
    assert missing_wheels(publisher, two.release) == ()
    with pytest.raises(ReleaseError, match=r"were pruned; publish them again .*kizu agent publish"):
        order_agent(publisher, AgentRequest("tags", "line1", one.digest, downgrade=True))
    publish_software(publisher, one)
    assert order_agent(publisher, AgentRequest("tags", "line1", one.digest, downgrade=True)).agent.rollout is None


def test_software_that_is_too_old_for_the_release_of_its_devices_is_not_ordered(publish):
    """The signer reads the releases that are desired now; a device would refuse it as well."""
    publisher = publish()
    publisher.initialise()
    old = build_agent("one", "0.1.0")
    publish_software(publisher, old)
    release = build_release(min_agent_version="0.2.0")
    state = DesiredState(
        sequence=1, use_case="tags", waves=(Wave(release_digest=release.digest, percent=100.0),), probation_s=15.0
    )
    files = [(f"releases/{release.digest}/{name}", data) for name, data in release.files.items()]
    publisher.publish([*files, (desired_path("tags", "line1"), state.to_json())])
    with pytest.raises(ReleaseError, match=r"needs agent 0\.2\.0 or newer, but this is 0\.1\.0"):
        order_agent(publisher, AgentRequest("tags", "line1", old.digest))
