"""Which split a group falls to: a pure rule, so that an old test part stays in test as the set grows."""

from __future__ import annotations

import hashlib

from components.stores.datasets.manifest import SplitName
from components.use_case import Split


def position(group: str, seed: int) -> float:
    """A group's fixed place in [0, 1): the first 8 bytes of sha256("<seed>:<group>")."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") / 2**64


def split_of(group: str, split: Split) -> SplitName:
    """test first, then val, then train, by the group's place."""
    place = position(group, split.seed)
    if place < split.test:
        return SplitName.TEST
    if place < split.test + split.val:
        return SplitName.VAL
    return SplitName.TRAIN
