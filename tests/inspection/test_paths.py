"""Keys of raw images and their Captures."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.paths import (
    RawKey,
    capture_key,
    check_name,
    desired_path,
    former_desired_path,
    parse_desired_path,
    parse_raw_key,
    raw_image_key,
)

SHA = "ab" * 32
NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
KEY = f"nagoya/line-1/2025/04/01/{SHA}.jpg"


def test_an_image_lies_below_site_device_and_day():
    """The key has the layout of the contract."""
    assert raw_image_key("nagoya", "line-1", NOON, SHA, "jpg") == KEY
    assert parse_raw_key(KEY) == RawKey("nagoya", "line-1", date(2025, 4, 1), SHA, "jpg", None)


def test_the_day_is_that_of_utc():
    """Two in the morning in Japan is the day before in UTC."""
    early = datetime(2025, 4, 2, 2, 0, tzinfo=timezone(timedelta(hours=9)))
    assert raw_image_key("nagoya", "line-1", early, SHA, "jpg") == KEY


def test_a_time_without_a_zone_is_refused():
    """The day of such a time is unknown."""
    with pytest.raises(ValueError, match="time zone"):
        raw_image_key("nagoya", "line-1", NOON.replace(tzinfo=None), SHA, "jpg")


def test_a_capture_lies_beside_its_image():
    """The two keys can be told apart."""
    key = capture_key(KEY, "c-1")
    assert key == f"nagoya/line-1/2025/04/01/{SHA}.c-1.json"
    parsed = parse_raw_key(key)
    assert parsed == RawKey("nagoya", "line-1", date(2025, 4, 1), SHA, "", "c-1")


def test_a_capture_has_no_capture_of_its_own():
    """Only the last ending of the key of an image is replaced, so the key of a capture leads to none that fits."""
    with pytest.raises(ValueError, match="expected an image key"):
        capture_key(capture_key(KEY, "c-1"), "c-2")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "名古屋",
        "Line-1",
        "line 1",
        "..",
        "line/1",
        "line_1",
        "-line",
        "line\n",
        "a" * 64,
        "line.1",
        "ｌｉｎｅ",
        "１",
    ],
)
def test_a_name_that_does_not_fit_a_key_is_refused(name):
    """Kanji, capitals, spaces, dots, slashes, full-width letters, an empty and a too long name, for site and device."""
    with pytest.raises(ValueError, match="expected a line of 1-63 characters"):
        check_name("line", name)
    with pytest.raises(ValueError, match="expected a site"):
        raw_image_key(name, "line-1", NOON, SHA, "jpg")
    with pytest.raises(ValueError, match="expected a device"):
        raw_image_key("nagoya", name, NOON, SHA, "jpg")


def test_the_longest_name_is_63():
    """A name may have 63 characters, the length of a DNS label."""
    assert check_name("device", "a" * 63) == "a" * 63


@pytest.mark.parametrize(
    ("sha256", "ext"), [("ab", "jpg"), (SHA.upper(), "jpg"), (SHA, "gif"), (SHA, "jpeg"), (SHA, "")]
)
def test_a_key_names_a_digest_and_a_known_kind(sha256, ext):
    """A text that is no digest, or an unknown extension, is refused."""
    with pytest.raises(ValueError, match="expected a sha256 and jpg"):
        raw_image_key("nagoya", "line-1", NOON, sha256, ext)


@pytest.mark.parametrize("capture_id", ["", "../x", "a/b", "a.b", "日", "x" * 65])
def test_a_capture_id_is_plain(capture_id):
    """The key of a Capture cannot leave the folder of its image."""
    with pytest.raises(ValueError, match="capture id"):
        capture_key(KEY, capture_id)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "readme.txt",
        KEY + "\n",
        "/" + KEY,
        KEY.replace("nagoya/", ""),
        KEY.replace("nagoya", "名古屋"),
        KEY.replace("line-1", ".."),
        KEY.replace("/04/", "/4/"),
        KEY.replace("/04/", "/13/"),
        KEY.replace("/01/", "/31/"),
        KEY.replace("2025", "２０２５"),
        KEY.replace("2025", "0000"),
        KEY.replace(".jpg", ".JPG"),
        KEY.replace(".jpg", ".json"),
        KEY.replace(SHA, SHA[:-1]),
        KEY.replace(".jpg", ".c-1.json.jpg"),
    ],
)
def test_what_is_not_of_the_layout_is_nothing(key):
    """The key of another object, or one with an impossible date, gives None."""
    assert parse_raw_key(key) is None


@given(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True),
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True),
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    st.sampled_from(["jpg", "png", "bmp", "webp", "tif"]),
)
def test_a_key_is_parsed_into_what_it_was_made_of(site, device, at, ext):
    """Parsing a key gives the parts that it was made of."""
    assert parse_raw_key(raw_image_key(site, device, at, SHA, ext)) == RawKey(site, device, at.date(), SHA, ext, None)


def test_the_path_of_a_desired_state_names_product_and_group():
    """A path is read back into its names; the former layout has no product; anything else is no such path."""
    assert parse_desired_path(desired_path("metal-tag", "line")) == ("line", "metal-tag")
    assert parse_desired_path(former_desired_path("line")) == ("line", None)
    others = ("desired/a/b/c.json", "desired/.json", "desired/A/b.json", "desired/a/b", "releases/a/b.json")
    assert [parse_desired_path(path) for path in others] == [None] * 5
    with pytest.raises(ValueError, match="use case"):
        desired_path("../x", "line")
