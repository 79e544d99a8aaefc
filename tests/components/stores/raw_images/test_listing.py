"""The raw bucket by prefix and in columns."""

import uuid
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.stores.objects.list_page import ListPage
from components.stores.raw_images.columns import IMAGES, keys_of, list_columns, parse_image_keys
from components.stores.raw_images.listing import RawListing, Span
from inspection.image import sha256_of
from inspection.paths import capture_key, parse_raw_key, raw_image_key

SHA = "ab" * 32


def key(name, device="line-1", site="nagoya", at=datetime(2025, 4, 1, tzinfo=UTC)):
    return raw_image_key(site, device, at, sha256_of(name.encode()), "jpg")


@pytest.mark.parametrize(
    "odd",
    [
        f"nagoya/line-1/2025/02/31/{SHA}.jpg",  # no such day
        f"nagoya/line-1/0000/01/01/{SHA}.jpg",
        f"nagoya/line-1/2025/04/0１/{SHA}.jpg",  # a digit of another script
        f"nagoya/line-1/2025/04/01/{SHA.upper()}.jpg",
        f"nagoya/line-1/2025/04/01/{SHA}.jpeg",
        f"nagoya/line-1/2025/04/01/{SHA}.c-1.json",
        f"nagoya/line-1/2025/04/01/{SHA}.jpg\n",
        f"nagoya/line-1/2025/04/01/x/{SHA}.jpg",
        f"-/line-1/2025/04/01/{SHA}.jpg",
        f"nagoya/{'x' * 64}/2025/04/01/{SHA}.jpg",
        "readme.txt",
        "",
    ],
)  # fmt: skip
def test_what_is_no_key_of_an_image_is_in_no_column(odd):
    """A key of another form is ignored and does not hide the keys beside it."""
    good = [key("a"), key("b", site=f"{'x' * 63}")]
    table = parse_image_keys([good[0], odd, good[1]])
    assert keys_of(table).to_pylist() == good
    assert table.schema == IMAGES


@given(
    st.lists(st.from_regex(r"\A[a-c-]{1,3}/[a-c]/20[0-9]{2}/[01][0-9]/[0-3][0-9]/[ab]{64}\.(jpg|tif|c\.json|JPG)\Z"))
)
def test_columns_hold_the_keys_that_the_layout_knows(keys):
    """The columns hold exactly the keys that `parse_raw_key` accepts as images."""
    wanted = [k for k in keys if (parsed := parse_raw_key(k)) is not None and parsed.capture_id is None]
    assert keys_of(parse_image_keys(keys)).to_pylist() == wanted


@pytest.fixture(scope="module")
def bucket(s3):
    name = f"t{uuid.uuid4().hex[:8]}-listing"
    s3.store("admin")._client.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def filled(s3, bucket):
    """1,200 images of one device and day (two pages), a few of others, a Capture, and things that are no image."""
    from concurrent.futures import ThreadPoolExecutor

    store = s3.store("admin")
    march, may = datetime(2025, 3, 31, 23, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
    keys = [key(str(number)) for number in range(1200)]
    keys += [key("m", at=march), key("y", at=may), key("o", device="line-10"), key("s", site="oita")]
    more = [
        capture_key(keys[0], "c-1"),
        "readme.txt",
        "nagoya/line-1/notes/a.txt",
        f"nagoya/UPPER/2025/01/01/{SHA}.jpg",
    ]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda k: store.put(bucket, k, b"x"), keys + more))
    return store, keys


def test_all_devices_are_found_and_their_images_by_month(filled, bucket):
    """Sites and devices are discovered; what is not of the layout is not even listed."""
    store, keys = filled
    listing = RawListing(store, bucket)
    assert listing.devices() == ["nagoya/line-1", "nagoya/line-10", "oita/line-1"]
    spans = listing.spans(listing.devices())
    assert Span("nagoya/line-1/2025/03/") in spans
    assert sorted(keys_of(list_columns(listing, spans)[0]).to_pylist()) == sorted(keys)


def test_a_listing_begins_at_a_day(filled, bucket):
    """The day itself is in it, the one before is not; of that device alone."""
    store, keys = filled
    listing = RawListing(store, bucket)
    since = listing.spans(["nagoya/line-1"], date(2025, 4, 1))
    found = keys_of(list_columns(listing, since)[0]).to_pylist()
    assert sorted(found) == sorted([*keys[:1200], key("y", at=datetime(2026, 5, 2, tzinfo=UTC))])
    assert list_columns(listing, listing.spans(["nagoya/line-1"], date(2026, 5, 3)))[0].num_rows == 0


def test_an_empty_bucket_has_no_devices(store, installation):
    """A bucket without images lists no devices and no rows."""
    listing = RawListing(store, installation.bucket("weights"))
    assert listing.devices() == []
    assert list_columns(listing, [])[0].num_rows == 0


def test_images_with_several_captures_are_told_apart():
    """Several Captures of an image are found by keys alone, within a page and across two pages."""
    listing = RawListing(Pages([["s/d/2026/05/01/" + name for name in names] for names in (
        ["a" * 64 + ".1.json", "a" * 64 + ".jpg", "b" * 64 + ".1.json"],
        ["b" * 64 + ".2.json", "b" * 64 + ".jpg", "c" * 64 + ".jpg"],
    )]), "raw")  # fmt: skip
    images, several = list_columns(listing, [Span("s/d/")])
    assert images.num_rows == 3
    assert several == {"b" * 64}


class Pages:
    """A `Lister` of fixed pages."""

    def __init__(self, pages):
        self.pages = pages

    def list_page(self, bucket, *, prefix="", delimiter="", start_after="", token=None):
        number = int(token or 0)
        return ListPage(self.pages[number], (), str(number + 1) if number + 1 < len(self.pages) else None)
