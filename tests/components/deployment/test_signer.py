"""The signer as others reach it: over HTTP, on a real MLflow and a real S3."""

import json
import threading
import time

import httpx
import pytest
import uvicorn

from components.deployment.callers import Caller, Callers, Right
from components.deployment.keys import init, load_root, load_signers
from components.deployment.release import ReleaseError, build_release
from components.deployment.signer import Signer, make_app
from components.deployment.upkeep import Upkeep
from components.registry.register import register
from components.stores.models.approval import decide_approval
from components.stores.models.registry import (
    CHAMPION,
    EVALUATION_REPORT,
    GOLDEN,
    MODEL_FILE,
    USE_CASE,
    ModelRegistry,
    ModelRegistryError,
)
from components.stores.releases.repository import ReleaseRepository
from components.stores.releases.signer_client import SignerClient, SignerError
from inspection.codec import DocumentError
from inspection.documents import DesiredState, Release, Wave
from inspection.image import sha256_of
from tests.components.model_runs import DATASET, DRIFT, GOLDEN_IMAGE, PICTURE_LIMITS, evaluated_run, unique_use_case
from tests.components.servers import free_port

CALLERS = Callers(
    tuple(
        Caller(name, frozenset(rights), sha256_of(f"token-of-{name}".encode()))
        for name, rights in {
            "operator": Right, "deployment": (Right.READ, Right.PUBLISH), "reconciler": (Right.READ, Right.ROLLOUT),
        }.items()
    )
)  # fmt: skip
AS_OPERATOR = {"Authorization": "Bearer token-of-operator"}


@pytest.fixture(scope="module")
def repository(store, installation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    init(folder / "root", folder / "signer")
    bucket = installation.bucket("releases")
    for info in list(store.list(bucket)):
        store.delete(bucket, info.key)
    made = ReleaseRepository(store, bucket, load_root(folder / "signer"), load_signers(folder / "signer"))
    made.initialise()
    return made


@pytest.fixture(scope="module")
def url(repository, mlflow_uri):
    port = free_port()
    app = make_app(Signer(repository, ModelRegistry(mlflow_uri)), CALLERS, Upkeep(repository))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def client(url):
    return SignerClient(url, "token-of-operator")


@pytest.fixture
def use_case(mlflow):
    rule = {"name": "long", "classes": ["scratch"], "max_longest_side_px": 20}
    made = unique_use_case(acceptance={"rules": [rule]})
    mlflow.allow(made.name, "approver")
    return made


@pytest.fixture
def version(registry, use_case):
    """A registered version that waits for approval."""
    return register(registry, evaluated_run(registry, use_case), use_case, 7)


@pytest.fixture
def approve(mlflow, registry):
    """As the approver's account; the signer and the tests are others."""

    def act(version):
        with mlflow.acting_as("approver"):
            decide_approval(registry, version.name, version.version, "approved")

    return act


def post(url, path, content):
    return httpx.post(url + path, content=content, timeout=30, trust_env=False, headers=AS_OPERATOR)


def test_an_approved_version_becomes_a_release_with_its_whole_lineage(
    client, registry, repository, use_case, version, approve
):
    """release.json by digest, and each file that it names beside it, with those bytes."""
    approve(version)
    digest = client.publish_release(use_case.name, 1)
    release = client.release(digest)
    assert release.digest == digest
    assert (release.use_case, release.version, release.training_run) == (use_case.name, 1, version.run_id)
    assert (release.dataset_digest, release.approval.by) == (DATASET, "approver")
    assert release.approval.model_sha256 == release.models[0].sha256 == sha256_of(b"onnx")
    assert release.picture_limits == PICTURE_LIMITS
    assert release.drift == DRIFT
    assert release.acceptance == use_case.acceptance.to_acceptance()
    assert release.acceptance.rules[0].max_longest_side_px == 20.0
    assert repository.read_target(f"releases/{digest}/model.onnx") == b"onnx"
    assert repository.read_target(f"releases/{digest}/{release.golden[0].file}") == GOLDEN_IMAGE
    assert sha256_of(repository.read_target(f"releases/{digest}/release.json")) == digest


def test_the_same_version_published_twice_is_one_release(client, registry, repository, use_case, version, approve):
    """Publishing a version again returns the same digest and signs nothing new."""
    approve(version)
    digest = client.publish_release(use_case.name, 1)
    before = dict(repository.targets())
    assert client.publish_release(use_case.name, 1) == digest
    assert repository.targets() == before


def test_the_desired_state_follows_the_approved_policy_and_rises_only_on_change(
    client, registry, use_case, version, approve
):
    """Version 1, again, version 2, and back to 1 on purpose: sequences 1, 1, 2, 3."""
    second = register(registry, evaluated_run(registry, use_case, onnx=b"second"), use_case, 8)
    for item in (version, second):
        approve(item)
    digests = [client.publish_release(use_case.name, number) for number in (1, 2)]
    assert client.desired(use_case.name, use_case.rollout.group) is None
    assert [client.publish_desired(use_case.name, number) for number in (1, 1, 2)] == [1, 1, 2]
    with pytest.raises(SignerError, match=r"version 1 of .* is older than version 2, .* order it with --downgrade"):
        client.publish_desired(use_case.name, 1)
    assert client.publish_desired(use_case.name, 1, downgrade=True) == 3
    desired = client.desired(use_case.name, use_case.rollout.group)
    assert (desired.use_case, desired.sequence, desired.probation_s) == (use_case.name, 3, 60.0)
    assert desired.waves == (
        Wave(release_digest=digests[0], devices=("line-1",)),
        Wave(release_digest=digests[0], percent=100.0),
    )


def test_the_reconciler_takes_a_rollout_step_by_step_and_others_may_not(
    client, url, registry, use_case, version, approve
):
    """The canary first, then all, and back: each step under the sequence that the caller has seen."""
    second = register(registry, evaluated_run(registry, use_case, onnx=b"second"), use_case, 8)
    group = use_case.rollout.group
    reconciler = SignerClient(url, "token-of-reconciler")
    digests = []
    for number, item in enumerate((version, second), start=1):
        approve(item)
        digests.append(client.publish_release(use_case.name, number))
        client.publish_desired(use_case.name, number)
        if number == 1:
            reconciler.rollout(use_case.name, group, 1, "advance", by="reconciler")

    def asked(device):
        return client.desired(use_case.name, group).release_for(device)

    assert [asked("line-1"), asked("line-2")] == [digests[1], digests[0]]
    with pytest.raises(SignerError, match="expected to advance at sequence 2, but it is at 3 by now"):
        reconciler.rollout(use_case.name, group, 2, "advance", by="reconciler")
    assert reconciler.rollout(use_case.name, group, 3, "advance", by="reconciler") == 4
    assert asked("line-2") == digests[1]
    assert reconciler.rollout(use_case.name, group, 4, "stop", by="reconciler", reason="bad", devices=["line-1"]) == 5
    assert [asked("line-1"), asked("line-2")] == [digests[0], digests[0]]
    with pytest.raises(SignerError, match=r"the rollout of version 2 was stopped by reconciler: bad; .*--again"):
        client.publish_desired(use_case.name, 2)
    with pytest.raises(SignerError, match=r"403.*deployment has no right to rollout"):
        SignerClient(url, "token-of-deployment").rollout(use_case.name, group, 5, "advance", by="x")
    with pytest.raises(SignerError, match=r"expected one of advance.*got 'dance'"):
        reconciler.rollout(use_case.name, group, 5, "dance", by="x")


def test_a_pinned_version_lets_no_other_follow(client, registry, use_case, version, approve):
    """The refusal names who pinned it and how it ends."""
    second = register(registry, evaluated_run(registry, use_case, onnx=b"second"), use_case, 8)
    for number, item in enumerate((version, second), start=1):
        approve(item)
        client.publish_release(use_case.name, number)
    client.publish_desired(use_case.name, 1, pin=True, by="admin", reason="audit week")
    with pytest.raises(SignerError, match=r"version 1 is pinned by admin.*kizu deploy resume"):
        client.publish_desired(use_case.name, 2)


def test_old_releases_lose_their_files_and_come_back_with_the_same_digest(
    client, url, store, installation, repository, registry, use_case, version, approve
):
    """Version 1 is pruned once version 3 is out; its document stays, and an order publishes it again."""
    items = [version] + [
        register(registry, evaluated_run(registry, use_case, onnx=b"v%d" % number), use_case, 7 + number)
        for number in (2, 3)
    ]
    digests = []
    for number, item in enumerate(items, start=1):
        approve(item)
        digests.append(client.publish_release(use_case.name, number))
        sequence = client.publish_desired(use_case.name, number)
        client.rollout(use_case.name, use_case.rollout.group, sequence, "advance", by="qa")

    def mine(act):
        return [item["version"] for item in client.prune([], 1, act=act) if item["use_case"] == use_case.name]

    assert mine(act=False) == [1]
    with pytest.raises(SignerError, match="403"):
        SignerClient(url, "token-of-reconciler").prune([], 1, act=True)
    model = f"releases/{digests[0]}/model.onnx"
    assert repository.read_target(model) == b"onnx"
    assert mine(act=True) == [1]
    assert mine(act=True) == []
    assert (repository.read_target(model), client.release(digests[0]).version) == (None, 1)
    left = [info.key for info in store.list(installation.bucket("releases"), f"targets/releases/{digests[0]}/")]
    assert [key.rpartition(".release")[2] for key in left] == [".json"]
    with pytest.raises(SignerError, match="is not published yet"):
        client.publish_desired(use_case.name, 1, downgrade=True)
    assert client.publish_release(use_case.name, 1) == digests[0]
    assert repository.read_target(model) == b"onnx"


def test_two_products_of_one_group_keep_their_own_desired_states(client, registry, mlflow, repository, approve):
    """Publishing the second product's state leaves the first product's as it is, and both are listed."""
    group = f"shared-{unique_use_case().name}"
    made = {}
    for _ in range(2):
        product = unique_use_case(rollout={"group": group, "probation_s": 60})
        mlflow.allow(product.name, "approver")
        approve(register(registry, evaluated_run(registry, product, onnx=product.name.encode()), product, 7))
        made[product.name] = client.publish_release(product.name, 1)
        assert client.publish_desired(product.name, 1) == 1
    for name, digest in made.items():
        assert client.desired(name, group).waves[-1].release_digest == digest
    assert {(name, group) for name in made} <= set(client.desired_names())


def test_a_group_that_an_older_kizu_released_to_goes_on_from_its_sequence(
    client, repository, registry, use_case, version, approve
):
    """Devices refuse a lower sequence. Agents of that version read the former name, which stays in step."""
    approve(version)
    digest = client.publish_release(use_case.name, 1)
    old = DesiredState(
        sequence=8, use_case=use_case.name, waves=(Wave(release_digest="ab" * 32, percent=100.0),), probation_s=60.0
    )
    path = f"desired/{use_case.rollout.group}.json"
    repository.publish([(path, old.to_json())])
    assert client.desired(use_case.name, use_case.rollout.group) == old
    assert (use_case.name, use_case.rollout.group) in client.desired_names()
    with pytest.raises(SignerError, match=r"nobody can tell whether version 1 is older.*--downgrade"):
        client.publish_desired(use_case.name, 1)  # the old order's release is not in this repository
    assert client.publish_desired(use_case.name, 1, downgrade=True) == 9
    new = client.desired(use_case.name, use_case.rollout.group)
    assert (new.sequence, new.waves[-1].release_digest) == (9, digest)
    assert repository.read_target(path) == new.to_json()


def test_the_former_name_of_another_product_is_left_alone(client, repository, use_case, version, approve):
    """The product that had a group's former name keeps it; this product begins with sequence 1 under its own name."""
    approve(version)
    client.publish_release(use_case.name, 1)
    other = DesiredState(
        sequence=8, use_case="other", waves=(Wave(release_digest="ab" * 32, percent=100.0),), probation_s=60.0
    )
    path = f"desired/{use_case.rollout.group}.json"
    repository.publish([(path, other.to_json())])
    assert client.desired(use_case.name, use_case.rollout.group) is None
    assert client.publish_desired(use_case.name, 1) == 1
    assert repository.read_target(path) == other.to_json()


def test_what_is_desired_already_can_be_ordered_anew(client, registry, use_case, version, approve):
    """The sequence rises, and the document says since when devices may count a refusal as answered."""
    group = use_case.rollout.group
    second = register(registry, evaluated_run(registry, use_case, onnx=b"second"), use_case, 8)
    for item in (version, second):
        approve(item)
    for number in (1, 2):
        client.publish_release(use_case.name, number)

    def order(number, **how):
        sequence = client.publish_desired(use_case.name, number, **how)
        desired = client.desired(use_case.name, group)
        assert desired.sequence == sequence
        return sequence, desired.again

    first, _ = order(1)
    assert order(1) == (first, first)
    assert order(1, again=True) == (first + 1, first + 1)
    assert order(1) == (first + 1, first + 1)
    assert order(2) == (first + 2, first + 2)


def test_what_is_not_approved_is_refused(client, use_case, version, repository):
    """A pending version is refused as a release and as a desired state, and nothing is published."""
    before = dict(repository.targets())
    with pytest.raises(SignerError, match=r"refused \(409\): .* is pending, expected approved"):
        client.publish_release(use_case.name, 1)
    with pytest.raises(SignerError, match="is pending"):
        client.publish_desired(use_case.name, 1)
    assert repository.targets() == before


def test_an_mlflow_without_the_rules_of_an_approval_is_not_believed(registry, use_case, version, approve, url):
    """Whatever its tags say, anybody could have written them. (Any other server has no such path.)"""
    approve(version)
    assert registry.stamps_approvals()
    other = ModelRegistry(url)
    assert not other.stamps_approvals()
    with pytest.raises(ReleaseError, match="--app-name kizu-approval"):
        build_release(other, use_case.name, 1)
    with pytest.raises(ModelRegistryError, match=r"127\.0\.0\.1:9"):
        ModelRegistry("http://127.0.0.1:9").stamps_approvals()


def test_a_desired_state_names_only_published_releases(client, registry, use_case, version, approve):
    """A desired state for an unpublished release is refused, because devices could not fetch that release."""
    approve(version)
    with pytest.raises(SignerError, match="is not published yet"):
        client.publish_desired(use_case.name, 1)


@pytest.mark.parametrize(
    ("artifact", "data", "said"),
    [
        (MODEL_FILE, b"replaced", "its bytes are now"),
        (EVALUATION_REPORT, None, "the evaluation report is not the one that was registered"),
        (f"golden/{sha256_of(GOLDEN_IMAGE)}.jpg", b"replaced", "has other bytes than were evaluated"),
        (GOLDEN, b"{", "the golden samples are not those"),
        (USE_CASE, b"{}", "use case"),
    ],
)
def test_whatever_was_changed_after_the_approval_is_not_signed(
    client, registry, use_case, version, artifact, data, said, approve
):
    """The signer refuses a version whose model, report, golden samples or use case changed after the approval."""
    approve(version)
    if data is None:
        data = registry.get_artifact(version.run_id, artifact).replace(b'"map50":0.8', b'"map50":0.9')
    registry.put_artifact(version.run_id, artifact, data)
    with pytest.raises(SignerError, match=said):
        client.publish_release(use_case.name, 1)


def test_a_version_that_was_compared_with_another_champion_is_not_signed_but_a_signed_one_may_come_back(
    client, mlflow, registry, use_case, version, approve
):
    """Versions 1 and 2 were approved before version 3 became the champion: 1 was signed then, and 2 was not."""
    second = register(registry, evaluated_run(registry, use_case, onnx=b"second"), use_case, 8)
    third = register(registry, evaluated_run(registry, use_case, onnx=b"third"), use_case, 9)
    for item in (version, second, third):
        approve(item)
    digest = client.publish_release(use_case.name, 1)
    with mlflow.acting_as("reconciler"):
        registry.set_alias(third, CHAMPION)
    with pytest.raises(
        SignerError, match=r"version 2 was compared with no champion, but version 3 is the champion now"
    ):
        client.publish_release(use_case.name, 2)
    with pytest.raises(SignerError, match="is not published yet"):
        client.publish_desired(use_case.name, 2)
    assert client.publish_release(use_case.name, 1) == digest
    assert client.publish_desired(use_case.name, 1) == 1
    assert client.publish_release(use_case.name, 3), "the champion is not compared with itself"


def test_golden_samples_that_were_made_easier_later_are_not_signed(client, registry, use_case, version, approve):
    """Without their digest in the approved report, a broken runtime would pass a trial that asks for nothing."""
    approve(version)
    easier = registry.get_artifact(version.run_id, GOLDEN).replace(b'"score":0.05', b'"score":1.0')
    assert b'"score":1.0' in easier
    registry.put_artifact(version.run_id, GOLDEN, easier)
    with pytest.raises(SignerError, match="the golden samples are not those that were evaluated"):
        client.publish_release(use_case.name, 1)


def test_a_looser_policy_put_in_later_is_not_signed(client, registry, use_case, version, approve):
    """Gate and rollout travel with the run; they are those that were registered."""
    approve(version)
    looser = json.loads(use_case.to_json())
    looser["rollout"]["probation_s"] = 0
    registry.put_artifact(version.run_id, USE_CASE, json.dumps(looser).encode())
    with pytest.raises(SignerError, match="use case"):
        client.publish_release(use_case.name, 1)


def test_what_is_not_there_is_refused_by_name(client, use_case, version):
    """An unknown model, an unknown version; an unknown group and release are None."""
    with pytest.raises(SignerError, match=r"409.*version 9"):
        client.publish_release(use_case.name, 9)
    with pytest.raises(SignerError, match=r"409.*no-such-model"):
        client.publish_release("no-such-model", 1)
    assert client.desired(use_case.name, "no-such-group") is None
    assert client.release("ab" * 32) is None


@pytest.mark.parametrize("path", ["/releases", "/desired"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"x"', b"{}", b"\xff", b"[" * 4000,
        b'{"model": "metal-tag"}', b'{"model": "metal-tag", "version": "1"}',
        b'{"model": "metal-tag", "version": true}',
        b'{"model": 1, "version": 1}', b'{"model": "../x", "version": 1}',
        b'{"model": "metal-tag", "version": 1, "bytes": "AAAA"}',
    ],
)  # fmt: skip
def test_a_request_that_names_no_version_is_refused(url, path, body):
    """Nobody makes the signer sign content: only a model and a version are understood, and no key besides."""
    answer = post(url, path, body)
    assert answer.status_code == 409
    assert answer.json()["error"]


def test_a_large_request_is_refused(url):
    """A request of 5000 bytes is refused with 413, because 4 kB are enough for a name."""
    assert post(url, "/releases", b" " * 5000).status_code == 413


def test_other_ways_in_are_closed(url):
    """Other methods, other paths, and names that leave the folder are refused; the health check answers."""
    assert httpx.get(f"{url}/releases", trust_env=False, headers=AS_OPERATOR).status_code == 405
    assert httpx.put(f"{url}/desired/metal-tag/line", content=b"{}", trust_env=False).status_code in (404, 405)
    assert httpx.get(f"{url}/keys", trust_env=False, headers=AS_OPERATOR).status_code == 404
    assert httpx.get(f"{url}/desired/..%2Freleases", trust_env=False, headers=AS_OPERATOR).status_code in (400, 404)
    assert httpx.get(f"{url}/desired/metal-tag/LINE", trust_env=False, headers=AS_OPERATOR).status_code == 400
    assert httpx.get(f"{url}/desired/METAL/line", trust_env=False, headers=AS_OPERATOR).status_code == 400
    assert httpx.get(f"{url}/healthz", trust_env=False).json()["status"] == "ok"


def test_a_damaged_repository_is_an_answer_and_not_a_trace(url, store, installation, repository):
    """502 and what is wrong; it works again when it is mended."""
    bucket, key = installation.bucket("releases"), "metadata/timestamp.json"
    whole = store.get(bucket, key)
    store.put(bucket, key, b"{}")
    try:
        answer = httpx.get(f"{url}/desired/metal-tag/line", trust_env=False, headers=AS_OPERATOR)
    finally:
        store.put(bucket, key, whole)
    assert answer.status_code == 502
    assert "timestamp.json" in answer.json()["error"]
    assert httpx.get(f"{url}/desired/metal-tag/line", trust_env=False, headers=AS_OPERATOR).status_code == 404


def test_a_signer_that_is_away_is_one_error_that_names_it():
    """A signer that does not answer is one `SignerError` that names its address."""
    with pytest.raises(SignerError, match=r"http://127\.0\.0\.1:9 does not answer.*is it running"):
        SignerClient("http://127.0.0.1:9").publish_release("metal-tag", 1)


def test_a_kept_int8_model_is_released_beside_the_one_it_was_made_from(client, repository, registry, use_case, approve):
    """A release has both model files, each with its digest; a device takes the precision that it is configured for."""
    version = register(registry, evaluated_run(registry, use_case, int8=b"small"), use_case, 7)
    approve(version)
    digest = client.publish_release(use_case.name, version.version)
    models = {model.precision: model for model in client.release(digest).models}
    assert {name: model.file for name, model in models.items()} == {"fp32": "model.onnx", "int8": "model.int8.onnx"}
    assert models["int8"].sha256 == sha256_of(b"small")
    assert repository.read_target(f"releases/{digest}/model.int8.onnx") == b"small"


@pytest.mark.parametrize("how", ["bytes", "tag"])
def test_an_int8_model_that_was_not_evaluated_is_not_signed(client, registry, use_case, how, approve):
    """The signer refuses int8 bytes that differ from the report's digest, even where a tag names other bytes."""
    version = register(registry, evaluated_run(registry, use_case, int8=b"small"), use_case, 7)
    if how == "tag":
        registry.set_tag(version, "model_int8_sha256", sha256_of(b"other"))
    approve(version)
    registry.put_artifact(version.run_id, "model/model.int8.onnx", b"other")
    with pytest.raises(SignerError, match="the int8 model"):
        client.publish_release(use_case.name, version.version)


def test_a_lost_repository_goes_on_above_what_devices_have_seen(
    client, registry, repository, store, installation, use_case, version, approve
):
    """A device that saw sequence 41 of the lost one takes the next; every metadata number is above a counted one."""
    approve(version)
    bucket = installation.bucket("releases")
    for info in list(store.list(bucket)):
        store.delete(bucket, info.key)
    with pytest.raises(SignerError, match=r"timestamp\.json is missing"):
        client.publish_release(use_case.name, 1)
    sequence = client.recover(use_case.name, 1, sequence_above=41, metadata_above=0)
    desired = client.desired(use_case.name, use_case.rollout.group)
    assert (sequence, desired.sequence) == (42, 42)
    assert client.release(desired.waves[-1].release_digest).version == 1
    timestamp = json.loads(store.get(bucket, "metadata/timestamp.json"))["signed"]
    assert timestamp["version"] > 1_700_000_000
    later = timestamp["version"] * 2
    assert client.recover(use_case.name, 1, sequence_above=0, metadata_above=later) == 43
    timestamp = json.loads(store.get(bucket, "metadata/timestamp.json"))["signed"]
    assert timestamp["version"] == later + 1
    assert timestamp["meta"]["snapshot.json"]["version"] == later + 1


# -- a candidate beside the release -----------------------------------------------------------------------------------


@pytest.fixture
def deployed(client, registry, use_case, version, approve):
    """A group that runs version 1, and a version 2 that waits for approval."""
    approve(version)
    client.publish_release(use_case.name, 1)
    client.publish_desired(use_case.name, 1)
    return register(registry, evaluated_run(registry, use_case, onnx=b"second"), use_case, 8)


def test_a_version_that_nobody_approved_may_judge_beside_the_release_and_cannot_be_run(
    client, repository, use_case, deployed
):
    """Its files lie apart from the releases, and its document is no release: it has no approval."""
    before = client.desired(use_case.name, use_case.rollout.group)
    state = client.shadow(use_case.name, 2, ["press-1", "press-2"], share=0.25, cpu_share=0.4)
    order = state.shadow
    assert (order.devices, order.share, order.cpu_share) == (("press-1", "press-2"), 0.25, 0.4)
    candidate = client.candidate(order.release_digest)
    assert (candidate.digest, candidate.version) == (order.release_digest, 2)
    assert repository.read_target(f"shadow/{order.release_digest}/model.onnx") == b"second"
    assert not [path for path in repository.targets() if path.startswith(f"releases/{order.release_digest}")]
    assert client.release(order.release_digest) is None
    with pytest.raises(DocumentError, match="the key 'approval' is missing"):
        Release.from_json(repository.read_target(f"shadow/{order.release_digest}/candidate.json"))
    # What the group runs is ordered as before: no device tries again what it refused.
    assert (state.waves, state.asked_since) == (before.waves, before.asked_since)
    assert (state.sequence, before.sequence) == (2, 1)


def test_an_order_for_a_candidate_outlives_a_deployment_and_ends_when_somebody_says_so(
    client, registry, use_case, deployed, approve
):
    """The same order twice is one; a deployment keeps it; its end is a new desired state, and the second end none."""
    first = client.shadow(use_case.name, 2, ["press-1"])
    assert client.shadow(use_case.name, 2, ["press-1"]) == first
    third = register(registry, evaluated_run(registry, use_case, onnx=b"third"), use_case, 9)
    approve(third)
    client.publish_release(use_case.name, 3)
    client.publish_desired(use_case.name, 3)
    state = client.desired(use_case.name, use_case.rollout.group)
    assert (state.shadow, state.sequence) == (first.shadow, 3)
    ended = client.end_shadow(use_case.name, use_case.rollout.group)
    assert (ended.shadow, ended.sequence, ended.waves) == (None, 4, state.waves)
    assert client.end_shadow(use_case.name, use_case.rollout.group) == ended


def test_a_candidate_needs_its_gate_and_somebody_who_has_not_rejected_it_and_a_release_to_compare_with(
    client, registry, use_case, version, mlflow
):
    """Each refusal says what to do."""
    with pytest.raises(SignerError, match=r"nothing was deployed to the group .* deploy a release first"):
        client.shadow(use_case.name, 1, ["press-1"])
    assert not [name for name in client.desired_names() if name[0] == use_case.name]
    registry.set_tag(version, "gate", "failed")
    with pytest.raises(SignerError, match="expected its gate tag to be 'passed'"):
        client.shadow(use_case.name, 1, ["press-1"])
    registry.set_tag(version, "gate", "passed")
    with mlflow.acting_as("approver"):
        decide_approval(registry, use_case.name, 1, "rejected")
    with pytest.raises(SignerError, match="was rejected; approve it, or take another version"):
        client.shadow(use_case.name, 1, ["press-1"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"devices": []}, "expected 1 to 50 devices by name, but got 0"),
        ({"devices": ["../x"]}, "expected a device of 1-63 characters"),
        ({"devices": "press-1"}, "expected a list of names for devices"),
        ({"share": 2}, "lies in 0..1, but got 2.0"),
        ({"share": True}, "expected a number for share"),
        ({"cpu_share": 0}, "above 0 and at most 1"),
        ({"unknown": 1}, "expected {"),
    ],
)
def test_a_request_for_a_candidate_that_has_another_form_is_refused(url, changes, said):
    """Nothing is signed for it."""
    body = {"model": "tags", "version": 2, "devices": ["press-1"]} | changes
    answer = post(url, "/shadow", json.dumps(body))
    assert (answer.status_code, said in answer.json()["error"]) == (409, True), answer.json()


def test_only_a_person_may_order_a_candidate(url, use_case):
    """The pipelines and the reconciler have tokens without that right."""
    for name in ("deployment", "reconciler"):
        client = SignerClient(url, f"token-of-{name}")
        with pytest.raises(SignerError, match="has no right to shadow here"):
            client.shadow(use_case.name, 1, ["press-1"])
        with pytest.raises(SignerError, match="has no right to shadow here"):
            client.end_shadow(use_case.name, "line")
