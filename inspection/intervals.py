"""95 % intervals of shares: of one, and of the difference between two. Pure arithmetic."""

from __future__ import annotations

import math
from typing import Final

Z95: Final = 1.959963984540054
"""The quantile of a two-sided interval of 95 %."""


def share_interval(count: int, of: int) -> tuple[float, float]:
    """The score interval of Wilson (JASA 22, 1927) for `count` of `of`. Low and high end, 0..1; (0, 1) where `of` is 0.

    >>> [round(end, 3) for end in share_interval(0, 30)]
    [0.0, 0.114]
    """
    if not of:
        return 0.0, 1.0
    share, square = count / of, Z95 * Z95
    middle = share + square / (2 * of)
    half = Z95 * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, (middle - half) / (1 + square / of)), min(1.0, (middle + half) / (1 + square / of))


def difference_interval(
    count: int, of: int, former_count: int, former_of: int, *, weight: float = 1.0
) -> tuple[float, float]:
    """The interval of `count/of - weight * former_count/former_of`, -1..1; (-1, 1) where one of both has no trials.

    It is the hybrid score interval of Newcombe (Statistics in Medicine 17, 1998, method 10). weight: 0..1; below 1 it
    asks whether a share has fallen below that part of the former one.

    >>> [round(end, 3) for end in difference_interval(56, 70, 48, 80)]
    [0.052, 0.334]
    """
    if not of or not former_of:
        return -1.0, 1.0
    now, before = count / of, former_count / former_of
    low, high = share_interval(count, of)
    former_low, former_high = share_interval(former_count, former_of)
    return (
        now - weight * before - math.hypot(now - low, weight * (former_high - before)),
        now - weight * before + math.hypot(high - now, weight * (before - former_low)),
    )
