"""Intervals of shares, against values from tables."""

import pytest

from inspection.intervals import difference_interval, share_interval


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(0, 30, 0.0, 0.1135), (15, 30, 0.3315, 0.6685), (30, 30, 0.8865, 1.0)]
)
def test_the_interval_of_a_share_is_that_of_wilson(count, of, low, high):
    """Values from tables, to the fourth digit."""
    assert share_interval(count, of) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((0, 10), (0, 10), (-0.2775, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
    ],
)
def test_the_interval_of_a_difference_is_that_of_newcombe(now, before, expected):
    """The examples of Newcombe (1998), table II, method 10."""
    assert difference_interval(*now, *before) == pytest.approx(expected, abs=1e-4)


def test_shares_of_nothing_may_be_anything():
    """Without a trial, the interval is the whole range."""
    assert share_interval(0, 0) == (0.0, 1.0)
    assert difference_interval(0, 0, 3, 10) == difference_interval(3, 10, 0, 0) == (-1.0, 1.0)
