"""Reads of many small objects, on a real S3 and where it is away."""

import uuid

import pytest

from components.stores.objects.quick_reads import QuickReads
from components.stores.objects.s3 import AccessDenied, ObjectNotFound, S3ObjectStore, SmallObjects

BUCKET = "kizu-fleet"


def requests_of(store):
    """The requests that the store's own client sends from now on."""
    sent = []
    store._client.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.url))
    return sent


def test_what_a_listing_names_is_read_without_the_client_of_boto3(s3):
    """Whatever is in the key or the bytes; the request is signed, and the bytes are the same."""
    store = s3.store("admin")
    names = {f"{uuid.uuid4().hex}/{name}": data for name, data in [("a b+c%&=ü刻.json", b"x" * 70_000), ("empty", b"")]}
    for key, data in names.items():
        store.put(BUCKET, key, data)
    sent, small = requests_of(store), store.for_many_small()
    assert {key: small.get(BUCKET, key) for key in names} == names
    assert sent == []
    folder = next(iter(names)).partition("/")[0]
    assert [info.key for info in small.list(BUCKET, folder)] == [key for key in names if key.startswith(folder)]


def test_what_is_answered_otherwise_is_asked_again_as_usual(s3, installation):
    """So errors are the same as everywhere: no such object, and keys that are refused."""
    store = s3.store("admin")
    sent = requests_of(store)
    with pytest.raises(ObjectNotFound):
        store.for_many_small().get(BUCKET, "nothing/reported.json")
    assert len(sent) == 1
    stranger = S3ObjectStore(store.endpoint, "us-east-1", "nobody", "wrong")
    with pytest.raises(AccessDenied):
        stranger.for_many_small().get(BUCKET, "nothing/reported.json")


def test_a_store_that_does_not_answer_gives_nothing_quickly():
    """The client asks again then, and says what went wrong."""
    assert QuickReads("http://127.0.0.1:9", "us-east-1", "key", "secret", None, None).read("b", "k") is None


def test_a_store_whose_buckets_are_in_host_names_is_read_by_its_client(s3):
    """Its addresses are made by boto3 only."""
    assert S3ObjectStore(None, "eu-1", "key", "secret", addressing="auto").for_many_small()._quick is None


class Recorded:
    """A client that gives one object, whatever is asked."""

    def get(self, bucket, key):
        return f"{bucket}/{key}".encode()


def test_without_quick_reads_the_client_is_asked():
    """Both when there are none, and when one gave nothing."""

    class Nothing:
        def read(self, bucket, key):
            return None

    assert [SmallObjects(Recorded(), quick).get("b", "k") for quick in (None, Nothing())] == [b"b/k", b"b/k"]
