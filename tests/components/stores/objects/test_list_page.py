"""Listings as stores answer them: namespaces, encoded keys, several pages, and answers that are none."""

from datetime import UTC, datetime

import pytest

from components.stores.objects.list_page import ListingError, ObjectInfo, parse_objects, parse_page
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore

SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def page(*keys, token="", more="", space=SPACE):
    rows = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-03-01T12:00:00.000Z</LastModified>"
        f"<ETag>&quot;e{number}&quot;</ETag><Size>{number}</Size><Owner><ID>x</ID></Owner></Contents>"
        for number, key in enumerate(keys)
    )
    following = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    following = following if token else ""
    return f"<ListBucketResult{space}><Prefix>p</Prefix>{rows}{following}{more}</ListBucketResult>".encode()


@pytest.mark.parametrize("space", [SPACE, ""])
def test_objects_are_read_with_size_etag_and_time_in_utc(space):
    """With the namespace of S3, and of a store that has none; what is not asked for is passed over."""
    assert parse_objects(page("p/a", "p/b", space=space)) == (
        [ObjectInfo("p/a", 0, '"e0"', AT), ObjectInfo("p/b", 1, '"e1"', AT)],
        None,
    )


def test_keys_that_a_store_encoded_are_decoded():
    """A store that was asked to encode keys says that it did; one that says nothing did not."""
    encoded = page("a%2Fb+c%25", more="<EncodingType>url</EncodingType>")
    assert [info.key for info in parse_objects(encoded)[0]] == ["a/b c%"] == list(parse_page(encoded).keys)
    assert [info.key for info in parse_objects(page("a%2Fb+c"))[0]] == ["a%2Fb+c"]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"<html></html>", page("a").replace(b"Size", b"Sise"), page("a").replace(b"2026-03", b"March ")],
)
def test_what_is_no_listing_is_an_error_that_says_so(body):
    """No object is left out silently."""
    with pytest.raises(ListingError, match="expected"):
        parse_objects(body)


class _Answers:
    """Answers each request of a store's client from a list, without a network, and notes what was asked."""

    def __init__(self, store, *bodies):
        self._bodies = iter(bodies)
        self.asked = []
        store._client.meta.events.register("before-send.s3", self.send)

    def send(self, request, **_):
        from botocore.awsrequest import AWSResponse

        from tests.components.stores.objects.test_other_stores import _Body

        self.asked.append(request.url)
        return AWSResponse(request.url, 200, {}, _Body(next(self._bodies)))


def test_a_listing_goes_on_to_its_last_page():
    """The token of each page asks for the next one, signs of URLs in it included."""
    store = S3ObjectStore("https://s3.plant.example", "eu-1", "key", "secret")
    answers = _Answers(store, page("a", token="1/+ ="), page("b", token="2"), page("c"))
    assert [info.key for info in store.list("kizu-raw", "p")] == ["a", "b", "c"]
    assert [url.partition("continuation-token=")[2].partition("&")[0] for url in answers.asked] == [
        "",
        "1%2F%2B%20%3D",
        "2",
    ]


def test_a_store_that_gives_the_same_page_again_and_again_is_an_error():
    """A listing that never ends would hold up whoever asked for it for ever."""
    store = S3ObjectStore("https://s3.plant.example", "eu-1", "key", "secret")
    _Answers(store, *[page("a", token="1")] * 3)
    with pytest.raises(ObjectStoreError, match="the same page twice"):
        list(store.list("kizu-raw"))


def test_an_answer_that_is_no_listing_names_the_bucket():
    """A proxy's page in place of the store's answer."""
    store = S3ObjectStore("https://s3.plant.example", "eu-1", "key", "secret")
    _Answers(store, b"<html>sign in</html>")
    with pytest.raises(ObjectStoreError, match="list s3://kizu-raw/"):
        list(store.list("kizu-raw"))
