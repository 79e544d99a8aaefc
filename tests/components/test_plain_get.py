"""A GET without boto3's client, on a real S3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.credentials import Credentials

from components.object_store import AccessDenied, ObjectNotFound, S3ObjectStore
from components.plain_get import PlainGet
from inspection.image import sha256_of


@pytest.fixture
def bucket(installation):
    return installation.bucket("state")


def getter(installation, **changed):
    given = {
        "endpoint": installation.s3_endpoint,
        "access_key": installation.access_key_id,
        "secret_key": installation.secret_access_key.get_secret_value(),
    } | changed
    credentials = Credentials(given["access_key"], given["secret_key"])
    return PlainGet(given["endpoint"], "us-east-1", credentials, ca_file=given.get("ca_file"))


@pytest.mark.parametrize("name", ["a", "with blank", "部品/傷.jpg", "a+b&c=d?e#f", "100%", "~tilde", "a//b", "x" * 200])
def test_any_key_is_signed_as_the_store_expects(store, installation, bucket, name):
    """Bytes come back, nothing is asked of boto3."""
    store.put(bucket, f"plain/{name}", name.encode())
    assert getter(installation)(bucket, f"plain/{name}", None) == name.encode()


def test_threads_share_it(store, installation, bucket):
    """More of them than it has connections."""
    for number in range(20):
        store.put(bucket, f"plain/threads/{number}", bytes(range(number)) * 1000)
    get = getter(installation)
    with ThreadPoolExecutor(40) as pool:
        found = pool.map(lambda number: get(bucket, f"plain/threads/{number % 20}", 10**6), range(200))
        assert [len(data) for data in found] == [number % 20 * 1000 for number in range(200)]


def test_where_it_has_no_answer_it_says_none(store, installation, bucket):
    """Nothing there, too large, refused, nobody listens; and the next one is answered over the same connection."""
    store.put(bucket, "plain/some", b"12345")
    get = getter(installation)
    assert get(bucket, "plain/none", None) is None
    assert get(bucket, "plain/some", 4) is None
    assert get(bucket, "plain/some", 5) == b"12345"
    assert getter(installation, secret_key="wrong")(bucket, "plain/some", None) is None
    assert getter(installation, endpoint="http://127.0.0.1:9")(bucket, "plain/some", None) is None


def test_what_went_wrong_is_named_as_ever(store, installation, bucket):
    """By boto3, which is asked then."""
    store.put(bucket, "plain/named", b"x")
    with pytest.raises(ObjectNotFound, match="plain/none"):
        store.get_oldest_matching(bucket, "plain/none", sha256_of(b"x"))
    stranger = S3ObjectStore(installation.s3_endpoint, "us-east-1", installation.access_key_id, "wrong")
    with pytest.raises(AccessDenied):
        stranger.get_oldest_matching(bucket, "plain/named", sha256_of(b"x"))
