"""Each identity can do its own part against the real store, and nothing else."""

from __future__ import annotations

import re
import stat

import pytest
from botocore.exceptions import ClientError

from components.stores.objects.s3 import AccessDenied, ObjectStoreError
from deploy.access.identities import BUCKETS, SETTINGS, environment_for
from deploy.access.layout import REPOSITORY
from tests.deploy.stack_fixture import make_layout

IMAGE = "factory/line1/2026/01/01/" + "a" * 64 + ".jpg"


def test_a_device_puts_below_its_own_prefix_and_reports_as_itself(s3):
    """A device may write images once below its own prefix and write its own reports."""
    device = s3.device("line1")
    assert device.put("kizu-raw", IMAGE, b"x", if_absent=True)
    assert not device.put("kizu-raw", IMAGE, b"y", if_absent=True)
    assert device.put("kizu-fleet", "line1/probe.json", b"{}")


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("kizu-raw", "factory/line2/2026/01/01/x.jpg"),
        ("kizu-raw", "factory/line10/x.jpg"),
        ("kizu-raw", "factory/line1/../line2/x.jpg"),
        ("kizu-fleet", "line2/reported.json"),
        ("kizu-releases", "metadata/timestamp.json"),
        ("kizu-labels", "events/x"),
        ("kizu-state", "claims/x"),
    ],
)
def test_a_device_writes_nowhere_else(s3, bucket, key):
    """A device may not write outside its own prefixes."""
    with pytest.raises(ObjectStoreError):
        s3.device("line1").put(bucket, key, b"x")


def test_a_device_neither_reads_nor_lists_nor_deletes_images(s3):
    """A device may not read, list or delete raw images."""
    device = s3.device("line1")
    s3.store("importer").put("kizu-raw", IMAGE, b"x")
    with pytest.raises(AccessDenied):
        device.get("kizu-raw", IMAGE)
    with pytest.raises(AccessDenied):
        list(device.list("kizu-raw", "factory/line1/"))
    with pytest.raises(AccessDenied):
        device.delete("kizu-raw", IMAGE)


@pytest.mark.parametrize("identity", ["importer", "admin", "labeling"])
def test_nobody_deletes_a_raw_image(s3, identity):
    """No identity may delete a raw image."""
    s3.store("importer").put("kizu-raw", IMAGE, b"x")
    with pytest.raises(AccessDenied):
        s3.store(identity).delete("kizu-raw", IMAGE)


@pytest.mark.parametrize("identity", ["importer", "labeling", "line1"])
def test_nobody_but_the_admin_changes_versioning_or_lifecycle_of_raw_images(s3, identity):
    """Only the admin may change versioning or lifecycle rules of the raw bucket."""
    client = (s3.device(identity) if identity == "line1" else s3.store(identity))._client
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_bucket_versioning(Bucket="kizu-raw", VersioningConfiguration={"Status": "Suspended"})
    rule = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_bucket_lifecycle_configuration(Bucket="kizu-raw", LifecycleConfiguration={"Rules": [rule]})


@pytest.mark.parametrize(
    ("identity", "bucket"),
    [
        ("labeling", "raw"), ("labeling", "datasets"), ("labeling", "releases"), ("labelstudio", "raw"),
        ("training", "raw"), ("training", "labels"), ("training", "releases"), ("training", "mlflow"),
        ("deployment", "releases"), ("deployment", "datasets"), ("reconciler", "fleet"), ("reconciler", "releases"),
        ("signer", "raw"), ("signer", "state"), ("mlflow", "releases"), ("importer", "datasets"),
        *(("auditor", bucket) for bucket in BUCKETS),
    ],
)  # fmt: skip
def test_an_identity_does_not_write_what_others_own(s3, identity, bucket):
    """An identity is refused when it writes to a bucket that it does not own."""
    with pytest.raises(AccessDenied):
        s3.store(identity).put(f"kizu-{bucket}", "intruder", b"x")


@pytest.mark.parametrize(
    ("identity", "bucket"),
    [("importer", "raw"), ("importer", "labels"), ("labeling", "labels"), ("labeling", "state"),
     ("training", "datasets"), ("training", "weights"), ("signer", "releases"), ("mlflow", "mlflow"),
     ("reconciler", "state")],
)  # fmt: skip
def test_an_identity_writes_what_it_owns(s3, identity, bucket):
    """An identity can write to and read from the buckets that it owns."""
    store = s3.store(identity)
    assert store.put(f"kizu-{bucket}", "probe", b"x")
    assert store.get(f"kizu-{bucket}", "probe") == b"x"


def test_the_auditor_reads_no_weights_no_artifacts_and_no_state(s3):
    """The auditor may not list weights, artifacts or state, because a trace does not need them."""
    for bucket in ("weights", "mlflow", "state"):
        with pytest.raises(AccessDenied):
            list(s3.store("auditor").list(f"kizu-{bucket}"))


def test_raw_images_are_versioned(s3):
    """An overwritten raw image can still be read in its first version."""
    store = s3.store("importer")
    store.put("kizu-raw", "factory/import-x/2026/01/01/v.jpg", b"first")
    store.put("kizu-raw", "factory/import-x/2026/01/01/v.jpg", b"second")
    import hashlib

    first = hashlib.sha256(b"first").hexdigest()
    assert store.get_oldest_matching("kizu-raw", "factory/import-x/2026/01/01/v.jpg", first) == b"first"


def test_a_pipeline_is_given_its_own_identity_and_nothing_more(s3):
    """Each pipeline has its own S3 secret and no secret of another pipeline or the signer."""
    training = s3.environment("training")
    assert "LABEL_STUDIO_API_KEY" not in training
    assert "KIZU_SIGNER_URL" not in training
    assert "KIZU_SIGNER_KEYS" not in s3.environment("deployment")
    secrets = {s3.environment(name)["AWS_SECRET_ACCESS_KEY"] for name in ("training", "labeling", "deployment")}
    assert len(secrets) == 3


def test_training_and_labeling_share_a_cache_and_no_other_process_has_it(s3):
    """Only these two identities are given the folder of images and of results of comparing them."""
    for name in ("training", "labeling"):
        assert s3.environment(name)["KIZU_CACHE_DIR"] == str(s3.layout.home / "cache")
    assert not any("KIZU_CACHE_DIR" in s3.environment(name) for name in ("deployment", "signer", "mlflow"))


def test_secrets_are_readable_by_their_owner_alone(s3):
    """Files with secrets have mode 0600."""
    for file in (s3.layout.identities_file, s3.layout.run / "s3.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("identity", ["labeling", "training", "deployment", "importer", "signer"])
def test_what_a_caller_may_set_reaches_the_process_of_its_identity_alone(tmp_path, monkeypatch, identity):
    """How it trains, or what wakes it; never another server or key, and nothing that the documents do not name."""
    layout = make_layout(tmp_path)
    names = {name for known in SETTINGS.values() for name in known}
    foreign = {"KIZU_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "LABEL_STUDIO_API_KEY", "KIZU_SIGNER_KEYS"}
    for name in (*names, *foreign):
        monkeypatch.delenv(name, raising=False)
    before = environment_for(layout, identity)
    for name in (*names, *foreign):
        monkeypatch.setenv(name, f"set {name}")
    after = environment_for(layout, identity)
    mine = set(SETTINGS.get(identity, ()))
    assert {name: after[name] for name in mine} == {name: f"set {name}" for name in mine}
    assert {name: value for name, value in after.items() if name not in mine} == {
        name: value for name, value in before.items() if name not in mine
    }


@pytest.mark.parametrize(("identity", "guide"), [("training", "training.md"), ("labeling", "labeling.md")])
def test_each_setting_that_a_guide_names_is_one_that_a_caller_may_set(identity, guide):
    """`KIZU_S3_PUBLIC_ENDPOINT` apart, which the layout of one machine knows."""
    text = (REPOSITORY / "docs" / "how-to" / guide).read_text(encoding="utf-8")
    named = set(re.findall(r"\bKIZU_[A-Z_0-9]+", text)) - {"KIZU_S3_PUBLIC_ENDPOINT"}
    assert len(named) >= 4
    assert named <= set(SETTINGS[identity])
