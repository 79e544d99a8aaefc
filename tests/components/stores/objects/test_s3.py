"""The object store on a real S3: what happens, and what the failures are called."""

import uuid

import pytest

from components.stores.objects.s3 import (
    AccessDenied,
    BucketNotFound,
    ObjectNotFound,
    ObjectStoreError,
    S3ObjectStore,
    parse_uri,
)
from inspection.image import sha256_of


@pytest.fixture
def key():
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def bucket(installation):
    return installation.bucket("state")


def test_bytes_come_back_and_the_last_put_wins(store, bucket, key):
    """An empty object and one of all 256 byte values are read as written, and the last put wins."""
    assert store.put(bucket, key, b"")
    assert store.get(bucket, key) == b""
    assert store.put(bucket, key, bytes(range(256)))
    assert store.get(bucket, key) == bytes(range(256))


def test_a_conditional_put_happens_once(store, bucket, key):
    """A claim: the second one is told False, and the first one's bytes stay."""
    assert store.put(bucket, key, b"first", if_absent=True) is True
    assert store.put(bucket, key, b"second", if_absent=True) is False
    assert store.get(bucket, key) == b"first"


def test_objects_are_listed_below_a_prefix_with_their_sizes(store, bucket, key):
    """Only objects below the prefix are listed, at any depth, in order."""
    for name in ("b/c", "a", "b/a"):
        store.put(bucket, f"{key}/{name}", b"1234")
    store.put(bucket, f"{key}-other", b"")
    found = list(store.list(bucket, f"{key}/"))
    assert [info.key for info in found] == [f"{key}/a", f"{key}/b/a", f"{key}/b/c"]
    assert {info.size for info in found} == {4}


def test_deleting_what_is_not_there_is_no_error(store, bucket, key):
    """Deleting an object a second time is no error."""
    store.put(bucket, key, b"x")
    store.delete(bucket, key)
    store.delete(bucket, key)
    assert not store.exists(bucket, key)


def test_what_is_not_there_is_not_found_by_name(store, bucket, key):
    """A missing object raises `ObjectNotFound` and a missing bucket `BucketNotFound`; the message names it."""
    assert store.exists(bucket, key) is False
    with pytest.raises(ObjectNotFound, match=key):
        store.get(bucket, key)
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        list(store.list("no-such-bucket"))
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        store.put("no-such-bucket", key, b"")


def test_wrong_keys_are_access_denied_in_every_call(installation, bucket, key):
    """Never *not found*: a wrong key must not look like an empty bucket. The secret is not in the message."""
    stranger = S3ObjectStore(installation.s3_endpoint, "us-east-1", "stranger", "s3cr3t")
    for act in (
        lambda: stranger.get(bucket, key),
        lambda: stranger.put(bucket, key, b""),
        lambda: stranger.exists(bucket, key),
        lambda: list(stranger.list(bucket)),
        lambda: stranger.delete(bucket, key),
    ):
        with pytest.raises(AccessDenied) as caught:
            act()
        assert "s3cr3t" not in str(caught.value)


def test_a_store_that_is_away_is_one_error_that_names_it():
    """A store that does not answer raises one `ObjectStoreError` that names its address."""
    away = S3ObjectStore("http://127.0.0.1:9", "us-east-1", "a", "b")
    with pytest.raises(ObjectStoreError, match=r"http://127\.0\.0\.1:9"):
        away.get("bucket", "key")


def test_an_overwritten_image_is_read_as_it_was(store, installation, key):
    """The raw bucket keeps versions; whoever reads takes the one with the digest."""
    bucket = installation.bucket("raw")
    for data in (b"first", b"second", b"third"):
        store.put(bucket, key, data)
    for data in (b"first", b"second", b"third"):
        assert store.get_oldest_matching(bucket, key, sha256_of(data)) == data
    with pytest.raises(ObjectNotFound, match="overwritten or damaged"):
        store.get_oldest_matching(bucket, key, sha256_of(b"never"))


def test_a_longer_key_is_another_object(store, installation, key):
    """Versions of `a.jpg2` are not versions of `a.jpg`."""
    bucket = installation.bucket("raw")
    store.put(bucket, key, b"mine")
    store.put(bucket, f"{key}2", b"other")
    with pytest.raises(ObjectNotFound):
        store.get_oldest_matching(bucket, key, sha256_of(b"other"))


def test_a_uri_is_taken_apart():
    """Only s3://bucket/key is accepted; any other text raises ValueError."""
    assert parse_uri("s3://b/a/c.jpg") == ("b", "a/c.jpg")
    for uri in ("", "b/a", "s3://", "s3://b", "s3://b/", "http://b/a", "s3:///a"):
        with pytest.raises(ValueError, match="expected s3://bucket/key"):
            parse_uri(uri)


def test_an_object_is_replaced_only_as_it_was_read(store, bucket, key):
    """Of two who read the same, the second to write is told False; so is who replaces what is gone."""
    store.put(bucket, key, b"first")
    data, etag = store.get_with_etag(bucket, key)
    assert data == b"first"
    assert store.put(bucket, key, b"second", if_match=etag) is True
    assert store.put(bucket, key, b"third", if_match=etag) is False
    assert store.get(bucket, key) == b"second"
    assert store.put(bucket, f"{key}-gone", b"x", if_match=etag) is False
    assert not store.exists(bucket, f"{key}-gone")


def test_a_listing_comes_in_pages_with_folders_and_from_a_key_on(store, bucket, key):
    """Keys below the delimiter are their folder; a key that it begins after is not in it."""
    for name in ("a/1", "a/2", "b/1", "c"):
        store.put(bucket, f"{key}/{name}", b"")
    page = store.list_page(bucket, prefix=f"{key}/", delimiter="/")
    assert (list(page.keys), list(page.prefixes), page.token) == ([f"{key}/c"], [f"{key}/a/", f"{key}/b/"], None)
    after = store.list_page(bucket, prefix=f"{key}/", start_after=f"{key}/a/1")
    assert list(after.keys) == [f"{key}/a/2", f"{key}/b/1", f"{key}/c"]
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        store.list_page("no-such-bucket")


def test_a_page_s_keys_are_those_that_were_put_whatever_is_in_them(store, bucket, key):
    """Spaces, signs of XML and of URLs, other scripts; as a whole listing has them too."""
    names = sorted(f"{key}/{name}" for name in ("a b", "a&amp;<b>", "a+b", "a%20b", "傷.jpg"))
    for name in names:
        store.put(bucket, name, b"")
    assert sorted(store.list_page(bucket, prefix=key).keys) == names
    assert sorted(info.key for info in store.list(bucket, key)) == names
