"""The split of a group: a pure rule of its name and the seed, so that a test part stays in test as the set grows."""

from __future__ import annotations

import hashlib

from components.stores.datasets.manifest import SplitName
from components.use_case import Split


def position(group: str, seed: int) -> float:
    """The fixed place of a group in [0, 1): the first 8 bytes of sha256("<seed>:<group>")."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") / 2**64


def split_of(group: str, split: Split) -> SplitName:
    """The split of a group by its place: [0, test) is test, then comes val, and the rest is train."""
    place = position(group, split.seed)
    if place < split.test:
        return SplitName.TEST
    if place < split.test + split.val:
        return SplitName.VAL
    return SplitName.TRAIN
