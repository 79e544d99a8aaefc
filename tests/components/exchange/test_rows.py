"""Times as sources write them."""

from datetime import UTC, datetime

import pytest

from components.exchange.rows import RowError, moment

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024-05-01T12:30:00+09:00", datetime(2024, 5, 1, 3, 30, tzinfo=UTC)),
        ("2024-05-01T12:30:00Z", datetime(2024, 5, 1, 12, 30, tzinfo=UTC)),
        ("1714566600", datetime(2024, 5, 1, 12, 30, tzinfo=UTC)),
        (1714566600.5, datetime(2024, 5, 1, 12, 30, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_iso_8601_or_seconds(text, expected):
    """A time without a zone is UTC."""
    assert moment(text, "the time", NOW) == expected


@pytest.mark.parametrize("text", ["20240501", "2024", "20240501T123000", "0", "1714566600000", "noon", "", None, "nan"])
def test_another_form_is_refused_and_the_forms_are_named(text):
    """`20240501` is a date to people and no number of seconds; nobody labelled an image in 1970."""
    with pytest.raises(RowError, match="time") as caught:
        moment(text, "the time", NOW)
    assert caught.value.reason == "time"
    assert "ISO 8601" in str(caught.value) or "before now" in str(caught.value)


@pytest.mark.parametrize("text", ["2026-06-02", "2199-12-31", "4102444800"])
def test_a_time_after_now_is_refused(text):
    """The message says what now is."""
    with pytest.raises(RowError, match="before now") as caught:
        moment(text, "the time", NOW)
    assert "2026-06-01" in str(caught.value)
