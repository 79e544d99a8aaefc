"""What a device may do with its own key, against the real store; and that nothing is left to a revoked one."""

from __future__ import annotations

import threading
import time

import boto3
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

import edge_agent.errors as edge_errors
from components.enrolment.port import AlreadyEnrolled, DeviceIdentity, EnrolmentError
from components.enrolment.seaweedfs import SeaweedFSIdentities
from components.stores.objects.s3 import AccessDenied, ObjectStoreError
from edge_agent.config import Credentials
from edge_agent.object_store import S3ObjectStore as EdgeObjectStore

IMAGE = "plant1/dev1/2026/01/01/mine.jpg"
REPORT = "dev1/reported.json"


def client(server, key, service="s3", **more):
    return boto3.client(
        service,
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
        **more,
    )


def assert_it_does_its_part(store):
    store.put("kizu-raw", IMAGE, b"mine", if_absent=True)
    assert store.put("kizu-raw", IMAGE, b"mine again", if_absent=True) is False
    assert store.put("kizu-fleet", REPORT, b"{}")
    assert store.put("kizu-fleet", REPORT, b"{ }")
    assert store.get("kizu-releases", "metadata/timestamp.json") == b"theirs"


def attempts(store):
    """Everything that is not a device's part -> a call that tries it."""
    s3 = store._client
    writes = [
        ("kizu-raw", "plant1/dev10/2026/01/01/x.jpg"), ("kizu-raw", "plant1/dev2/x.jpg"), ("kizu-raw", "plant1/dev1x"),
        ("kizu-raw", "plant1/dev1"), ("kizu-raw", "plant2/dev1/x.jpg"), ("kizu-raw", "plant1/dev1/../dev2/x.jpg"),
        ("kizu-raw", "x"), ("kizu-fleet", "dev10/reported.json"), ("kizu-fleet", "dev2/reported.json"),
        ("kizu-fleet", "x"), ("kizu-releases", "metadata/timestamp.json"), ("kizu-releases", "targets/x"),
        ("kizu-labels", "events/x"), ("kizu-datasets", "manifests/a.json"), ("kizu-weights", "yolov8n.pt"),
        ("kizu-mlflow", "1/model.onnx"), ("kizu-state", "leases/labeling"),
    ]  # fmt: skip
    reads = [
        ("kizu-raw", IMAGE), ("kizu-raw", "plant1/dev10/2026/01/01/theirs.jpg"), ("kizu-fleet", REPORT),
        ("kizu-fleet", "dev10/reported.json"), ("kizu-labels", "events/_delta_log/0.json"),
        ("kizu-datasets", "manifests/a.json"), ("kizu-weights", "yolov8n.pt"), ("kizu-mlflow", "1/model.onnx"),
        ("kizu-state", "leases/labeling"),
    ]  # fmt: skip
    buckets = ("raw", "fleet", "releases", "labels", "datasets", "weights", "mlflow", "state")
    found = {f"put {bucket}/{key}": lambda b=bucket, k=key: store.put(b, k, b"x") for bucket, key in writes}
    found |= {f"get {bucket}/{key}": lambda b=bucket, k=key: store.get(b, k) for bucket, key in reads}
    found |= {
        f"delete {bucket}/{key}": lambda b=bucket, k=key: store.delete(b, k)
        for bucket, key in (*reads, ("kizu-releases", "metadata/timestamp.json"))
    }
    found |= {f"list {bucket}": lambda b=bucket: list(store.list(f"kizu-{b}")) for bucket in buckets}
    found |= {
        "list its own": lambda: list(store.list("kizu-raw", "plant1/dev1/")),
        "list versions": lambda: s3.list_object_versions(Bucket="kizu-raw", Prefix="plant1/dev1/"),
        "head its own": lambda: s3.head_object(Bucket="kizu-raw", Key=IMAGE),
        "copy another's image to itself": lambda: s3.copy_object(
            Bucket="kizu-raw", Key="plant1/dev1/stolen", CopySource="kizu-raw/plant1/dev10/2026/01/01/theirs.jpg"
        ),
        "copy its own report elsewhere": lambda: s3.copy_object(
            Bucket="kizu-fleet", Key="dev10/reported.json", CopySource=f"kizu-fleet/{REPORT}"
        ),
        "begin an upload for another": lambda: s3.create_multipart_upload(Bucket="kizu-raw", Key="plant1/dev10/x"),
        "suspend versioning": lambda: s3.put_bucket_versioning(
            Bucket="kizu-raw", VersioningConfiguration={"Status": "Suspended"}
        ),
        "change the policy of a bucket": lambda: s3.delete_bucket_policy(Bucket="kizu-raw"),
        "make a bucket": lambda: s3.create_bucket(Bucket="kizu-mine"),
        "publish an object": lambda: s3.put_object_acl(Bucket="kizu-raw", Key=IMAGE, ACL="public-read"),
    }
    return found


def assert_it_does_nothing_else(store):
    for what, attempt in attempts(store).items():
        try:
            attempt()
        except (ObjectStoreError, ClientError):
            continue
        pytest.fail(f"allowed: {what}")


def assert_is_out(store):
    """Its very next calls are refused; a minute is what a store with more servers may take."""
    deadline = time.monotonic() + 60
    while True:
        try:
            store.put("kizu-fleet", REPORT, b"{}")
        except AccessDenied:
            break
        assert time.monotonic() < deadline, "a revoked device still writes"
    for act in (
        lambda: store.put("kizu-raw", IMAGE, b"x"),
        lambda: store.get("kizu-releases", "metadata/timestamp.json"),
        lambda: store.put("kizu-fleet", REPORT, b"{}"),
    ):
        with pytest.raises(AccessDenied):
            act()


def test_a_device_does_its_part_and_nothing_else_and_so_after_the_store_was_killed(server, enrolled, as_device):
    """A device has its own rights and no others, also after the store was killed.

    It may write below its own prefix and its own report, and read releases. It may not list, read back or delete.
    """
    store = as_device(enrolled("dev1"))
    assert_it_does_its_part(store)
    assert_it_does_nothing_else(store)
    server.stop()
    server.start()
    assert_it_does_its_part(store)
    assert_it_does_nothing_else(store)


def test_the_devices_own_client_does_the_same(server, enrolled):
    """The agent's own MinIO client has the same rights: it puts its images, reads releases, and is refused all else."""
    key = enrolled("dev1")
    store = EdgeObjectStore(server.endpoint, "us-east-1", Credentials(key.access_key, SecretStr(key.secret_key)))
    image = "plant1/dev1/2026/01/02/large.jpg"
    assert store.put("kizu-raw", image, b"x" * 12_000_000, if_absent=True) is True
    assert store.put("kizu-raw", image, b"y", if_absent=True) is False
    assert store.get("kizu-releases", "metadata/timestamp.json") == b"theirs"
    with pytest.raises(edge_errors.ObjectNotFound):
        store.get("kizu-releases", "metadata/2.root.json")  # a missing one is missing, not forbidden
    with pytest.raises(edge_errors.AccessDenied):
        store.put("kizu-raw", "plant1/dev10/2026/01/01/x.jpg", b"x")
    with pytest.raises(edge_errors.AccessDenied):
        store.get("kizu-raw", image)


def test_neither_of_two_devices_whose_names_begin_alike_reaches_the_other(enrolled, as_device):
    """dev1 and dev10 cannot write each other's report or images, although one name begins with the other."""
    one, ten = as_device(enrolled("dev1")), as_device(enrolled("dev10"))
    assert ten.put("kizu-fleet", "dev10/reported.json", b"{}")
    for store, other in ((one, "dev10"), (ten, "dev1")):
        with pytest.raises(AccessDenied):
            store.put("kizu-fleet", f"{other}/reported.json", b"{}")
        with pytest.raises(AccessDenied):
            store.put("kizu-raw", f"plant1/{other}/2026/01/01/x.jpg", b"x")


def test_what_a_device_overwrites_is_still_there(server, enrolled, as_device):
    """A device may write its own key again. The first version stays, and the device can hide or remove no version."""
    store = as_device(enrolled("dev1"))
    key = "plant1/dev1/2026/01/03/twice.jpg"
    store.put("kizu-raw", key, b"first")
    store.put("kizu-raw", key, b"second")
    admin = server.store("admin")
    versions = admin._version_ids("kizu-raw", key)
    assert [admin.get("kizu-raw", key, version_id=version) for version in versions] == [b"second", b"first"]
    for act in (
        lambda: store._client.delete_object(Bucket="kizu-raw", Key=key),
        lambda: store._client.delete_object(Bucket="kizu-raw", Key=key, VersionId=versions[-1]),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            act()
    said = store._client.delete_objects(Bucket="kizu-raw", Delete={"Objects": [{"Key": key}]})
    assert [error["Code"] for error in said["Errors"]] == ["AccessDenied"]
    assert admin._version_ids("kizu-raw", key) == versions


def test_a_device_gives_itself_no_rights_and_no_time_beyond_its_own(server, enrolled, identities, as_device):
    """A device cannot change a policy, make a user or take a temporary key. A second key of its own ends with it."""
    key = enrolled("dev1")
    iam, sts = client(server, key, "iam"), client(server, key, "sts")
    role = "arn:aws:iam::000000000000:role/admin"
    for act in (
        lambda: iam.put_user_policy(UserName="device-dev1", PolicyName="more", PolicyDocument="{}"),
        lambda: iam.create_user(UserName="device-dev3"),
        lambda: iam.delete_user(UserName="device-dev1"),
        lambda: iam.create_access_key(UserName="admin"),
        lambda: iam.list_users(),
        lambda: sts.get_session_token(),
        lambda: sts.get_federation_token(Name="longer"),
        lambda: sts.assume_role(RoleArn=role, RoleSessionName="longer"),
    ):
        with pytest.raises(ClientError):
            act()
    further = iam.create_access_key()["AccessKey"]
    own = as_device(type(key)(further["AccessKeyId"], further["SecretAccessKey"]))
    assert_it_does_nothing_else(own)
    identities.revoke("dev1")
    assert_is_out(own)
    with pytest.raises(ClientError):
        iam.create_access_key()


def test_a_revoked_device_is_out_for_good_and_the_others_go_on(server, enrolled, identities, as_device):
    """A revoked device is refused on an open client and after the store was killed and started again.

    Other devices keep their rights.
    """
    gone, stays = as_device(enrolled("dev1")), as_device(enrolled("dev2"))
    assert_it_does_its_part(gone)
    assert identities.revoke("dev1") is True
    assert_is_out(gone)
    assert stays.put("kizu-fleet", "dev2/reported.json", b"{}")
    assert identities.revoke("dev1") is False, "a second time there is nothing to do"
    server.stop()
    server.start()
    assert_is_out(gone)
    assert stays.put("kizu-fleet", "dev2/reported.json", b"{}")
    assert [device.name for device in identities.devices()] == ["dev2"]


def test_a_second_enrolment_is_refused_and_a_replacement_shuts_the_old_key_out(identities, enrolled, as_device):
    """A replacement makes the old key invalid and gives the device the rights of its new site only."""
    old = as_device(enrolled("dev1"))
    with pytest.raises(AlreadyEnrolled, match="--replace"):
        identities.create(DeviceIdentity("dev1", "plant2"))
    assert_it_does_its_part(old)
    new = as_device(identities.create(DeviceIdentity("dev1", "plant2"), replace=True))
    assert_is_out(old)
    assert new.put("kizu-raw", "plant2/dev1/2026/01/01/x.jpg", b"x")
    with pytest.raises(AccessDenied):
        new.put("kizu-raw", IMAGE, b"x")
    (found,) = identities.devices()
    assert (found.name, found.site, len(found.access_keys)) == ("dev1", "plant2", 1)


def test_devices_that_are_enrolled_at_once_are_all_enrolled(server, identities, as_device):
    """None is lost, also not by a store that is killed right after."""
    names = [f"at-once-{number}" for number in range(6)]
    keys = {}

    def enrol(name):
        key = server.keys("admin")
        own = SeaweedFSIdentities(server.endpoint, "us-east-1", key["access_key"], key["secret_key"])
        keys[name] = own.create(DeviceIdentity(name, "plant1"))

    threads = [threading.Thread(target=enrol, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()
    server.start()
    try:
        assert [device.name for device in identities.devices()] == names
        for name in names:
            assert as_device(keys[name]).put("kizu-fleet", f"{name}/reported.json", b"{}")
    finally:
        for name in names:
            identities.revoke(name)


def test_the_longest_name_is_a_name(enrolled, as_device):
    """A device name of 63 characters can be enrolled and can write its report."""
    name = "d" * 63
    assert as_device(enrolled(name)).put("kizu-fleet", f"{name}/reported.json", b"{}")


def test_no_key_is_in_the_log_of_the_store(server, enrolled):
    """The store's log does not contain the secret key, although the key passed through the store's IAM API."""
    key = enrolled("dev1")
    assert key.secret_key not in (server.folder / "log").read_text(errors="replace")
    assert key.secret_key not in repr(key)


def test_an_identity_of_the_servers_own_file_is_said_to_be_still_there(server, tmp_path):
    """The store answers that it deleted it, and did not."""
    config = server.folder / "s3.json"
    before = config.read_text()
    key = server.keys("admin")
    identities = SeaweedFSIdentities(server.endpoint, "us-east-1", key["access_key"], key["secret_key"])
    server.stop()
    server.identities = {"device-fixed": ["Write:kizu-raw/plant1/fixed/*"]}
    server.start()
    try:
        with pytest.raises(EnrolmentError, match=r"-s3\.config"):
            identities.revoke("fixed")
    finally:
        server.stop()
        server.identities = {}
        server.start()
    assert config.read_text() == before


def test_only_the_administrator_enrols(server):
    """Another identity is told so in a word that says what to do."""
    key = server.keys("signer")
    identities = SeaweedFSIdentities(server.endpoint, "us-east-1", key["access_key"], key["secret_key"])
    with pytest.raises(EnrolmentError, match="administrator"):
        identities.create(DeviceIdentity("dev2", "plant1"))
    with pytest.raises(EnrolmentError, match="administrator"):
        identities.devices()


def test_a_store_that_is_not_there_is_said_so():
    """Enrolment against a store that does not answer fails with an error that names the store's address."""
    identities = SeaweedFSIdentities("http://127.0.0.1:1", "us-east-1", "a" * 20, "b" * 40)
    with pytest.raises(EnrolmentError, match=r"127\.0\.0\.1:1"):
        identities.create(DeviceIdentity("dev1", "plant1"))
